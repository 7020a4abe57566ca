"""Schedules."""

from check import check
from deployed import deploy
from stack import PARAMETERS, Resource

from .environments import takes

SCHEDULES = ("AWS::Scheduler::Schedule", "AWS::Events::Rule")


@check
def can_be_switched_off(stack):
    """Schedules must have a parameter that switches them off, for times when the LMS or
    Coursehook is unavailable: a schedule that was disabled by hand is enabled by the next
    deployment."""
    without = [
        deploy(stack.rendered, PARAMETERS | {name: "off"})["Resources"]
        for name, parameter in stack.source["Parameters"].items()
        if takes(parameter, "off")
    ]
    for schedule in stack.all(*SCHEDULES):
        yield schedule.must(
            any(
                schedule.name not in resources
                or Resource(schedule.name, resources[schedule.name]).get("State") == "DISABLED"
                for resources in without
            ),
            "goes on whatever the parameters say",
            "give it a Condition, or a State, by a parameter that can be off",
        )
