"""Alarms: each must reach somebody, and say what to do."""

import re

from check import Verdict, check
from stack import PARAMETERS

ALARM = "AWS::CloudWatch::Alarm"


@check
def notify(stack):
    """An alarm must notify when it is raised and when it ends: otherwise it is only a picture on
    a dashboard, or is believed to continue."""
    for alarm in stack.all(ALARM):
        for actions in ("AlarmActions", "OKActions"):
            yield alarm.must(
                alarm.get(actions) == [PARAMETERS["AlarmTopicArn"]]
                and alarm.get("ActionsEnabled", True) is True,
                f"does not notify AlarmTopicArn by {actions}",
                f'set {actions}: !If [HasAlarmTopic, [!Ref AlarmTopicArn], !Ref "AWS::NoValue"]',
            )


@check
def missing_data(stack):
    """The treatment of missing data must be explicit: it may be good or bad news, and AWS's
    default is neither."""
    for alarm in stack.all(ALARM):
        yield alarm.must(
            "TreatMissingData" in alarm, "does not say what no data mean", "set TreatMissingData"
        )


@check
def documented(stack):
    """The description of an alarm must name the section of docs/alarms.md about it."""
    anchors = sections(stack.pages["alarms.md"])
    for alarm in stack.all(ALARM):
        anchor = anchor_of(alarm)
        yield alarm.must(
            anchor in anchors and is_of(anchor, alarm),
            f"names no section of its own in docs/alarms.md: {anchor}",
            'end its AlarmDescription in "See docs/alarms.md#anchor.", the anchor of the section that has its name',
        )


@check
def sections_have_alarms(stack):
    """Each section must have an alarm: one for a removed alarm would still be believed."""
    for anchor in sections(stack.pages["alarms.md"]):
        yield Verdict(
            f"docs/alarms.md#{anchor}",
            None if any(is_of(anchor, alarm) for alarm in stack.all(ALARM)) else "is of no alarm",
            "give the section the name of its alarm, or remove it",
        )


def is_of(anchor, alarm):
    """True if a section has the name of the alarm, or the common end of the names of several
    alarms: `webhook-stopped` is that of EnrollmentWebhookStoppedAlarm."""
    return alarm.name.lower().endswith(f"{anchor.replace('-', '')}alarm")


def anchor_of(alarm):
    """Returns the anchor at the end of an alarm's description, or None."""
    found = re.search(r"See docs/alarms\.md#([\w-]+)\.$", alarm.get("AlarmDescription", "").strip())
    return found and found[1]


def sections(page):
    """Returns the anchors of a page's sections, as GitHub makes them."""
    titles = re.findall(r"^## +(.+?) *$", page, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles]
