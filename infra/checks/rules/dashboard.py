"""The dashboard."""

import itertools
import json

from check import check

from .alarms import ALARM

DASHBOARD = "AWS::CloudWatch::Dashboard"
WIDGETS = {"alarm", "explorer", "log", "metric", "text"}
# The number of columns in CloudWatch's grid.
COLUMNS = 24


@check
def readable(stack):
    """The body must be JSON: CloudFormation accepts any text, CloudWatch does not."""
    for dashboard in stack.all(DASHBOARD):
        yield dashboard.must(
            all("type" in widget and "properties" in widget for widget in widgets(dashboard))
            and widgets(dashboard),
            "has no body that is JSON with widgets",
            "fix DashboardBody; what is put in by !Sub must not break it",
        )


@check
def known_widgets(stack):
    """A widget of a type that CloudWatch does not know stays empty."""
    for dashboard in stack.all(DASHBOARD):
        for widget in widgets(dashboard):
            kind = widget.get("type", "metric")
            yield dashboard.must(
                kind in WIDGETS, f"has a widget of type {kind}", f"make it one of {sorted(WIDGETS)}"
            )


@check
def no_overlap(stack):
    """Widgets must not overlap: CloudWatch would move them from their place."""
    for dashboard in stack.all(DASHBOARD):
        cells = {}
        for number, widget in enumerate(widgets(dashboard)):
            x, y, width, height = (
                widget.get(key, default) for key, default in (("x", 0), ("y", 0), ("width", 6), ("height", 6))
            )
            area = itertools.product(range(x, x + width), range(y, y + height))
            others = {cells.setdefault(cell, number) for cell in area} - {number}
            yield dashboard.must(
                not others and x + width <= COLUMNS,
                f"has widgets that overlap or stand out: {number} at {x},{y}, {sorted(others)}",
                "move one of them",
            )


@check
def shows_alarms(stack):
    """The dashboard must show every alarm, so that errors are seen at a glance."""
    for dashboard in stack.all(DASHBOARD):
        shown = json.dumps(
            [
                [
                    widget["properties"].get("alarms"),
                    widget["properties"].get("annotations", {}).get("alarms"),
                ]
                for widget in widgets(dashboard)
                if "properties" in widget
            ]
        )
        for alarm in stack.all(ALARM):
            yield alarm.must(
                json.dumps(alarm.arn) in shown,
                "is not on the dashboard",
                "add its ARN to the widget of alarms",
            )


def widgets(dashboard):
    """Returns the widgets of a dashboard, or none if its body cannot be parsed."""
    try:
        return json.loads(dashboard.get("DashboardBody", "")).get("widgets", [])
    except ValueError:
        return []
