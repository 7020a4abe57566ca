"""Functions: each must be observable and limited, and have a role and a log group of its own."""

import re
from collections import Counter

from check import check

from .api import REST_API, paths_of
from .secrets import SECRET
from .tables import TABLE

FUNCTION = "AWS::Lambda::Function"
# The gateway's timeout in seconds.
GATEWAY_TIMEOUT = 29


@check
def traced(stack):
    """A trace goes from the gateway through the function to the tables."""
    for function in stack.all(FUNCTION):
        yield function.must(
            function.at("TracingConfig", "Mode") == "Active", "is not traced", "set Tracing: Active"
        )


@check
def json_logs(stack):
    """Alarms and docs/logs.md depend on lines that are JSON objects, those of Lambda too."""
    for function in stack.all(FUNCTION):
        yield function.must(
            function.at("LoggingConfig", "LogFormat") == "JSON",
            "has lines of Lambda's that are no JSON",
            "set LoggingConfig: {LogFormat: JSON}",
        )


@check
def own_role(stack):
    """A role that two functions share allows each what only the other needs; and one that SAM
    creates has managed policies."""
    users = Counter(function.get("Role") for function in stack.all(FUNCTION))
    roles = {role.arn: role for role in stack.all("AWS::IAM::Role")}
    for function in stack.all(FUNCTION):
        role = roles.get(function.get("Role"))
        yield function.must(
            role is not None and users[role.arn] == 1,
            "has a role that is not of the template"
            if role is None
            else "shares its role with another function",
            "write a role for it alone, and name it in Role",
        )


@check
def own_log_group(stack):
    """A log group that Lambda creates never expires; one of two functions has two kinds of
    lines."""
    users = Counter(function.at("LoggingConfig", "LogGroup") for function in stack.all(FUNCTION))
    groups = {group.name for group in stack.all("AWS::Logs::LogGroup")}
    for function in stack.all(FUNCTION):
        group = function.at("LoggingConfig", "LogGroup")
        yield function.must(
            group in groups and users[group] == 1,
            "has no log group of its own",
            "write a log group for it alone, and name it in LoggingConfig",
        )


@check
def in_time(stack):
    """The sender must get the function's answer, and not the gateway's."""
    for function in called_by_api(stack):
        yield function.must(
            function.get("Timeout", 3) < GATEWAY_TIMEOUT,
            f"may take longer than the gateway waits, {GATEWAY_TIMEOUT} s",
            f"set a Timeout below {GATEWAY_TIMEOUT}",
        )


@check
def bounded(stack):
    """Functions that run by themselves must leave the account's concurrency to the webhooks."""
    webhooks = {function.name for function in called_by_api(stack)}
    for function in stack.all(FUNCTION):
        if function.name not in webhooks:
            yield function.must(
                int(function.get("ReservedConcurrentExecutions", 0)) > 0,
                "can take all of the account's concurrency",
                "set ReservedConcurrentExecutions",
            )


@check
def variables(stack):
    """The code finds a table or a secret by its logical id: COURSE_RUNS_TABLE is
    CourseRunsTable, and no other."""
    things = {
        thing.arn if thing.type == SECRET else thing.name: thing.name for thing in stack.all(TABLE, SECRET)
    }
    for function in stack.all(FUNCTION):
        for variable, value in function.at("Environment", "Variables").items():
            if value in things:
                name = re.sub(r"(?<!^)(?=[A-Z])", "_", things[value]).upper()
                yield function.must(
                    variable == name, f"has {things[value]} as {variable}", f"name the variable {name}"
                )


def called_by_api(stack):
    """Returns the functions that the gateway calls."""
    uris = " ".join(
        method["x-amazon-apigateway-integration"]["uri"]
        for api in stack.all(REST_API)
        for methods in paths_of(api).values()
        for method in methods.values()
    )
    return [function for function in stack.all(FUNCTION) if f"{function.arn}/" in uris]
