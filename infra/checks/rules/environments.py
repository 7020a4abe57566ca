"""The environments of infra/environments."""

import re

from check import Verdict, check


@check
def parameters(stack):
    """Parameters must be valid: `sam deploy` reports a wrong one only as a failed deployment."""
    for environment, values in stack.environments.items():
        for name, value in values.items():
            parameter = stack.source["Parameters"].get(name)
            yield Verdict(
                f"{environment}: {name}",
                None if parameter and takes(parameter, value) else f"cannot be {value}",
                "see what the template's Parameters say of it",
            )


def takes(parameter, value):
    """True if a parameter can have this value."""
    if parameter["Type"] == "Number":
        if not re.fullmatch(r"-?[\d.]+", value):
            return False
        number = float(value)
        if not parameter.get("MinValue", number) <= number <= parameter.get("MaxValue", number):
            return False
    return (
        value in map(str, parameter.get("AllowedValues", [value]))
        and re.fullmatch(parameter.get("AllowedPattern", "(?s:.*)"), value) is not None
    )
