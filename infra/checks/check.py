"""Defines checks, and runs them.

A check is a function that takes a `stack.Stack` and yields a `Verdict` for each thing
that it has checked. Its name consists of the names of its module and of the function.
"""

import sys
from dataclasses import dataclass

CHECKS = {}


@dataclass(frozen=True)
class Verdict:
    """A check's result for one thing."""

    # Mostly the logical id of a resource.
    subject: str
    # The error, or None.
    fault: str | None = None
    # How to fix it.
    remedy: str | None = None


def check(function):
    """Registers a function as a check."""
    module = function.__module__.rpartition(".")[2]
    CHECKS[f"{module}/{function.__name__}".replace("_", "-")] = function
    return function


def run(stack, names=()):
    """Yields each check's name and verdicts, or those of the checks with these names."""
    for name in names or CHECKS:
        yield name, list(CHECKS[name](stack))


def faults(verdicts):
    """Returns each error with its subject and how to fix it. A check without anything to check
    is an error: it would otherwise pass forever once its subject is gone."""
    if not verdicts:
        return [("-", "there is nothing to look at", "fix the check, or remove it if its subject is gone")]
    found = ((verdict.subject, verdict.fault, verdict.remedy) for verdict in verdicts if verdict.fault)
    return list(dict.fromkeys(found))


def report(name, verdicts):
    """Prints the errors of a check; returns whether there are none."""
    for subject, fault, remedy in faults(verdicts):
        print(f"{name}: {subject} {fault}\n    {remedy}", file=sys.stderr)
    if faults(verdicts):
        return False
    subjects = len({verdict.subject for verdict in verdicts})
    times = "" if len(verdicts) == subjects else f", {len(verdicts)} times"
    print(f"{name:36} {subjects:3} looked at{times}")
    return True
