"""Alarms: each reaches somebody, and tells them what to do."""

import re

from check import Verdict, check
from stack import PARAMETERS

ALARM = "AWS::CloudWatch::Alarm"


@check
def notify(stack):
    """An alarm that tells nobody is a picture on a dashboard, and one whose end nobody is
    told of is believed to go on."""
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
    """No data may be good news or bad; what AWS takes it for by itself is neither."""
    for alarm in stack.all(ALARM):
        yield alarm.must(
            "TreatMissingData" in alarm, "does not say what no data mean", "set TreatMissingData"
        )


@check
def documented(stack):
    """Whoever is woken by it is told where the rest is written."""
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
    """A section for an alarm that is gone would be believed."""
    for anchor in sections(stack.pages["alarms.md"]):
        yield Verdict(
            f"docs/alarms.md#{anchor}",
            None if any(is_of(anchor, alarm) for alarm in stack.all(ALARM)) else "is of no alarm",
            "give the section the name of its alarm, or remove it",
        )


def is_of(anchor, alarm):
    """Whether a section has an alarm's name, or what the names of alike ones end in:
    `webhook-stopped` is of EnrollmentWebhookStoppedAlarm."""
    return alarm.name.lower().endswith(f"{anchor.replace('-', '')}alarm")


def anchor_of(alarm):
    """What an alarm's description ends in."""
    found = re.search(r"See docs/alarms\.md#([\w-]+)\.$", alarm.get("AlarmDescription", "").strip())
    return found and found[1]


def sections(page):
    """The anchors of a page's sections, as GitHub makes them."""
    titles = re.findall(r"^## +(.+?) *$", page, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles]
