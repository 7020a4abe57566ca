"""parliament: the meaning of policies."""

import functools
import json
import warnings

# It loads its data through setuptools, in a deprecated way.
warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)

import parliament

from check import Verdict, check
from deployed import ACCOUNT, REGION


@check
def policies(stack):
    """Policies must name existing actions, on resources that these actions can have, each once."""
    for name, findings in analyse(stack):
        faults = [finding for finding in findings if not stack.excepts(finding.issue, name, detail(finding))]
        for finding in faults:
            yield Verdict(
                name,
                f"{finding.issue} {detail(finding)}",
                finding.description or "do as it says, or say in exceptions.toml why not",
            )
        if not faults:
            yield Verdict(name)


@functools.cache
def analyse(stack):
    """Yields the findings on each policy, with the logical id of its resource."""
    # The gateway replaces `execute-api:/` by the ARN of the API that has the policy.
    gateway = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:abcdefghij/"
    return [
        (
            name,
            parliament.analyze_policy_string(json.dumps(policy).replace("execute-api:/", gateway)).findings,
        )
        for name, policy in documents(stack)
    ]


def trusting(role, policy):
    """Returns the policy that says who may assume a role. Its resource is implicitly the role,
    and parliament needs it explicitly."""
    return policy | {"Statement": [{"Resource": role.arn} | statement for statement in policy["Statement"]]}


def documents(stack):
    """Returns the policies of the stack: everything that has statements, wherever it is."""

    def search(name, value):
        if isinstance(value, dict):
            if "Statement" in value:
                yield name, value
            else:
                for part in value.values():
                    yield from search(name, part)
        elif isinstance(value, list):
            for part in value:
                yield from search(name, part)

    for resource in stack.resources.values():
        properties = dict(resource)
        if resource.type == "AWS::IAM::Role":
            yield resource.name, trusting(resource, properties.pop("AssumeRolePolicyDocument"))
        yield from search(resource.name, properties)


def detail(finding):
    return finding.detail if isinstance(finding.detail, str) else json.dumps(finding.detail, default=str)
