"""Roles and policies: each must allow exactly its work."""

import json
import re

from check import check

from .functions import FUNCTION
from .secrets import SECRET
from .tables import TABLE

ROLE = "AWS::IAM::Role"
POLICIES = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")

# Actions that support no resource, so that they need "*", by the service that has them.
TRACING = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
WITHOUT_RESOURCE = {
    "lambda.amazonaws.com": TRACING,
    "states.amazonaws.com": TRACING
    | {
        "xray:GetSamplingRules",
        "xray:GetSamplingTargets",
        "logs:CreateLogDelivery",
        "logs:GetLogDelivery",
        "logs:UpdateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    },
    # The gateway has one role for all of an account's APIs, and their log groups.
    "apigateway.amazonaws.com": {
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:DescribeLogGroups",
        "logs:DescribeLogStreams",
        "logs:PutLogEvents",
        "logs:GetLogEvents",
        "logs:FilterLogEvents",
    },
}

# The actions that the portal may use; only coursehook may write.
READS = {
    "dynamodb:BatchGetItem",
    "dynamodb:DescribeStream",
    "dynamodb:GetItem",
    "dynamodb:GetRecords",
    "dynamodb:ListStreams",
    "dynamodb:GetShardIterator",
    "dynamodb:Query",
    "dynamodb:Scan",
}


@check
def no_managed_policies(stack):
    """Managed policies are written by AWS for all accounts, which may extend them at any time."""
    for role in stack.all(ROLE):
        yield role.must(
            not role.get("ManagedPolicyArns"), "has managed policies", "write what it needs in its Policies"
        )


@check
def no_wildcard_actions(stack):
    """A wildcard allows unintended actions, and those that AWS adds later."""
    for holder, statement in statements(stack):
        actions = listed(statement.get("Action"))
        yield holder.must(
            actions and not any("*" in action for action in actions) and "NotResource" not in statement,
            f"allows whatever there is: {statement.get('Sid', '')}",
            "name each action in Action, and each resource in Resource",
        )


@check
def named_resources(stack):
    """A role that may use any table may use that of another stack."""
    for holder, statement in statements(stack):
        for resource in listed(statement.get("Resource")):
            names = set(re.split(r"[:/-]", resource))
            services = {service_of(stack.resources[name]) for name in held_by(holder)}
            without_resource = set().union(*(WITHOUT_RESOURCE.get(service, ()) for service in services))
            yield holder.must(
                bool(names & stack.resources.keys())
                or set(listed(statement.get("Action"))) <= without_resource,
                f"allows something on what is not of this stack: {statement.get('Sid', '')}, {resource}",
                "name a resource of the template; for an action that takes none, see WITHOUT_RESOURCE",
            )


@check
def environments_and_roles(stack):
    """A function's environment and its role must name the same things: a difference is a mistake
    in one of them."""
    roles = {role.arn: role for role in stack.all(ROLE)}
    for function in stack.all(FUNCTION):
        values = set(function.at("Environment", "Variables").values())
        named = {table.name for table in stack.all(TABLE) if table.name in values}
        named |= {secret.name for secret in stack.all(SECRET) if secret.arn in values}
        role = roles.get(function.get("Role"))
        # A role that is not in the template is reported by another rule.
        if role is None:
            continue
        allowed = {
            thing.name
            for thing in stack.all(TABLE, SECRET)
            for holder, statement in statements(stack)
            if role.name in held_by(holder)
            for resource in listed(statement.get("Resource"))
            if resource == thing.arn or resource.startswith(f"{thing.arn}/")
        }
        yield function.must(
            named <= allowed,
            f"names in its environment what its role does not allow: {', '.join(sorted(named - allowed))}",
            "allow its role the calls, or remove the variable",
        )
        yield function.must(
            allowed <= named,
            f"has a role for what its environment does not name: {', '.join(sorted(allowed - named))}",
            "remove it from the role, or add the variable",
        )


@check
def size(stack):
    """IAM accepts 10,240 characters of inline policies for a role, and 6,144 of a managed one,
    and reports an excess only at the deployment."""
    for role in stack.all(ROLE):
        documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
        documents += [
            policy["PolicyDocument"]
            for policy in stack.all("AWS::IAM::Policy")
            if role.name in held_by(policy)
        ]
        yield role.must(
            sum(map(length, documents)) < 10_240,
            "has more policy than IAM takes",
            "join statements, or split the role",
        )
    for policy in stack.all("AWS::IAM::ManagedPolicy"):
        yield policy.must(
            length(policy["PolicyDocument"]) < 6_144,
            "is larger than IAM takes",
            "join statements, or split it",
        )


@check
def portal_reads(stack):
    """The portal is another program: its writes would have no history, and would be undone by
    the next sweep."""
    for policy in stack.all("AWS::IAM::ManagedPolicy"):
        actions = {
            action
            for holder, statement in statements(stack)
            if holder is policy
            for action in listed(statement["Action"])
        }
        yield policy.must(
            actions <= READS,
            f"allows the portal more than to read: {', '.join(sorted(actions - READS))}",
            "remove it",
        )


@check
def trusted(stack):
    """A role must trust one service of AWS, and no account."""
    for role in stack.all(ROLE):
        yield role.must(
            service_of(role) is not None,
            "can be assumed by others than one service",
            "name one Service as its Principal",
        )


def listed(value):
    """Returns a list; IAM treats a single value as a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def statements(stack):
    """Returns the statements of identity policies, each with its resource."""
    for role in stack.all(ROLE):
        for policy in role.get("Policies", []):
            for statement in listed(policy["PolicyDocument"]["Statement"]):
                yield role, statement
    for policy in stack.all(*POLICIES):
        for statement in listed(policy["PolicyDocument"]["Statement"]):
            yield policy, statement


def held_by(holder):
    """Returns the names of the roles with a policy of this resource."""
    return [holder.name] if holder.type == ROLE else holder.get("Roles", [])


def service_of(role):
    """Returns the service that may assume a role, or None if others may, too."""
    trusting = listed(role.at("AssumeRolePolicyDocument", "Statement"))
    principal = trusting[0].get("Principal") if len(trusting) == 1 else None
    match principal:
        case {"Service": str(service), **others} if not others:
            return service
    return None


def length(document):
    """Returns the length as IAM counts it, without white space."""
    return len(json.dumps(document, separators=(",", ":")))
