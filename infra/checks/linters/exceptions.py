"""The exceptions of exceptions.toml."""

import json

from check import Verdict, check

from .checkov import scan
from .parliament import analyse, detail


@check
def needed(stack):
    """Each exception must be needed: one without a finding would hide the finding if it came
    back."""
    found = [
        (record.check_id, record.resource.rpartition(".")[2], "")
        for record in scan(json.dumps(stack.rendered))
        if record.check_result["result"].value != "PASSED"
    ] + [(finding.issue, name, detail(finding)) for name, findings in analyse(stack) for finding in findings]
    for exception in stack.exceptions:
        for place in exception["of"]:
            is_needed = any(stack.applies(exception, place, *finding) for finding in found)
            yield Verdict(
                f"{exception['id']} of {place}",
                None if is_needed else "is excepted, and not found any more",
                "remove it from exceptions.toml",
            )
