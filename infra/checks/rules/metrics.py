"""Metrics: alarms and dashboard must use the metrics that the functions emit."""

import re
from dataclasses import dataclass

from check import Verdict, check

from .alarms import ALARM
from .dashboard import DASHBOARD, widgets
from .functions import FUNCTION


@dataclass(frozen=True)
class Use:
    """A use of a metric."""

    by: str
    namespace: str
    name: str
    dimensions: frozenset


@check
def namespaces(stack):
    """Metrics must be in the namespace of the stack or in one of AWS. A metric in another
    namespace has no data, which looks as if there were no errors."""
    own = own_namespaces(stack)
    for function in stack.all(FUNCTION):
        namespace = function.at("Environment", "Variables", "METRICS_NAMESPACE")
        yield function.must(
            namespace and len(own) == 1,
            f"emits its metrics as {namespace}",
            'set METRICS_NAMESPACE: !Sub "Coursehook/${AWS::StackName}" in Globals',
        )
    for use in uses(stack):
        yield Verdict(
            use.by,
            None
            if use.namespace in own or use.namespace.startswith("AWS/")
            else f"looks for {use.name} in {use.namespace}",
            'use !Sub "Coursehook/${AWS::StackName}"',
        )


@check
def documented(stack):
    """docs/metrics.md lists the emitted metrics, and tests compare the functions with it."""
    known = emitted(stack)
    for use in own_uses(stack):
        yield Verdict(
            use.by,
            None if use.name in known else f"looks at {use.name}, which nothing emits",
            "use a metric of docs/metrics.md's table, or add it there",
        )


@check
def dimensions(stack):
    """CloudWatch does not aggregate: with other dimensions than it was emitted with, a metric is
    a different one, without data."""
    known = emitted(stack)
    for use in own_uses(stack):
        if use.name in known:
            yield Verdict(
                use.by,
                None
                if use.dimensions in known[use.name]
                else f"looks at {use.name} by {sorted(use.dimensions)}",
                "use the dimensions of docs/metrics.md's table",
            )


@check
def is_used(stack):
    """A metric must be used by an alarm or the dashboard: an unused one only costs money."""
    used = {use.name for use in own_uses(stack)}
    for name in emitted(stack):
        yield Verdict(
            name,
            None if name in used else "is on no dashboard and in no alarm",
            "add it to one, or emit it no more",
        )


def own_namespaces(stack):
    """Returns the namespaces in which the functions emit metrics; there should be one."""
    return {function.at("Environment", "Variables", "METRICS_NAMESPACE") for function in stack.all(FUNCTION)}


def own_uses(stack):
    """Returns the uses of our own metrics."""
    return [use for use in uses(stack) if use.namespace in own_namespaces(stack)]


def uses(stack):
    """Returns each metric that alarms and dashboard use."""
    for alarm in stack.all(ALARM):
        metrics = [
            metric["MetricStat"]["Metric"] for metric in alarm.get("Metrics", []) if "MetricStat" in metric
        ]
        for metric in metrics + ([alarm] if "MetricName" in alarm else []):
            names = frozenset(dimension["Name"] for dimension in metric.get("Dimensions", []))
            yield Use(alarm.name, metric["Namespace"], metric["MetricName"], names)
    for dashboard in stack.all(DASHBOARD):
        for widget in widgets(dashboard):
            for namespace, name, names in graphed(widget.get("properties", {}).get("metrics", [])):
                yield Use(dashboard.name, namespace, name, frozenset(names))


def graphed(rows):
    """Returns the metrics of a widget. A row is a namespace, a name, and names and values of
    dimensions, where "." repeats the value above, and "..." all values above except the last; or
    it is an expression, which may search for metrics."""
    above = []
    for row in rows:
        words = [word for word in row if not isinstance(word, dict)]
        for options in (word for word in row if isinstance(word, dict)):
            expression = options.get("expression", "")
            searched = re.findall(r"\{([^{}]+)\}[^']*?MetricName=\W*(\w+)", expression)
            if "SEARCH" in expression and not searched:
                yield "an expression that names no MetricName", expression, []
            for space, name in searched:
                namespace, *names = (part.strip(' "') for part in space.split(","))
                yield namespace, name, names
        if words[:1] == ["..."]:
            words = above[: len(above) - len(words) + 1] + words[1:]
        words = [above[number] if word == "." else word for number, word in enumerate(words)]
        if words:
            yield words[0], words[1], words[2::2]
            above = words


def emitted(stack):
    """Returns our own metrics, with the sets of dimensions with which each is emitted: those in
    the tables of metrics of docs/metrics.md, where a semicolon separates two sets, and those
    that the template counts in logs."""
    found = {}
    # A table ends at the first line that is not part of it.
    for table in re.findall(r"^\| *metric *\|.*\n((?:\|.*\n?)+)", stack.pages["metrics.md"], re.MULTILINE):
        for names, dimensions in re.findall(r"^\|([^|]*)\|([^|]*)\|", table, re.MULTILINE):
            for name in re.findall(r"[A-Z]\w+", names):
                found.setdefault(name, set()).update(
                    frozenset(re.findall(r"[a-z_]+", alternative)) for alternative in dimensions.split(";")
                )
    for counted in stack.all("AWS::Logs::MetricFilter"):
        for metric in counted["MetricTransformations"]:
            names = frozenset(dimension["Key"] for dimension in metric.get("Dimensions", []))
            found.setdefault(metric["MetricName"], set()).add(names)
    return found
