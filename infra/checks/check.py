"""What a check is, and how all are run.

A check is a function that takes a `stack.Stack` and yields a `Verdict` for each thing
that it has looked at. Its name is that of its module and its own.
"""

import sys
from dataclasses import dataclass

CHECKS = {}


@dataclass(frozen=True)
class Verdict:
    """What a check says of one thing that it looked at."""

    # Mostly the logical id of a resource.
    subject: str
    # What is wrong, or None.
    fault: str | None = None
    # What to do about it.
    remedy: str | None = None


def check(function):
    """Makes a function one of the checks."""
    module = function.__module__.rpartition(".")[2]
    CHECKS[f"{module}/{function.__name__}".replace("_", "-")] = function
    return function


def run(stack, names=()):
    """Each check's name and verdicts, or those of the checks with these names."""
    for name in names or CHECKS:
        yield name, list(CHECKS[name](stack))


def faults(verdicts):
    """What is wrong, why, and what to do. Where nothing was looked at, that is wrong: a
    check whose subject is gone would be fine for ever."""
    if not verdicts:
        return [("-", "there is nothing to look at", "fix the check, or remove it if its subject is gone")]
    found = ((verdict.subject, verdict.fault, verdict.remedy) for verdict in verdicts if verdict.fault)
    return list(dict.fromkeys(found))


def report(name, verdicts):
    """Prints what came of a check, and returns whether all is well."""
    for subject, fault, remedy in faults(verdicts):
        print(f"{name}: {subject} {fault}\n    {remedy}", file=sys.stderr)
    if faults(verdicts):
        return False
    subjects = len({verdict.subject for verdict in verdicts})
    times = "" if len(verdicts) == subjects else f", {len(verdicts)} times"
    print(f"{name:36} {subjects:3} looked at{times}")
    return True
