"""Sizes."""

import json

from check import Verdict, check

# What CloudFormation takes from S3, where `sam deploy` puts it.
LARGEST = 1_000_000


@check
def template(stack):
    """CloudFormation says that a template is too large only at the deployment."""
    size = len(json.dumps(stack.rendered))
    fault = None if size < LARGEST else f"has {size} bytes, and CloudFormation takes {LARGEST}"
    yield Verdict("rendered template", fault, "write less, or make two stacks")
