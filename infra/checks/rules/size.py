"""Sizes."""

import json

from check import Verdict, check

# The size limit of CloudFormation for a template in S3, where `sam deploy` puts it.
LARGEST = 1_000_000


@check
def template(stack):
    """A template must be small enough: CloudFormation reports an excess only at the deployment."""
    size = len(json.dumps(stack.rendered))
    fault = None if size < LARGEST else f"has {size} bytes, and CloudFormation takes {LARGEST}"
    yield Verdict("rendered template", fault, "write less, or make two stacks")
