"""A rendered template as CloudFormation deploys it: its functions are evaluated, and values that
only a deployment knows are replaced by names and ARNs in the form of AWS. A name is its logical
id."""

import functools
import json
import re

REGION = "eu-central-1"
ACCOUNT = "123456789012"

PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/coursehook/1",
    "AWS::StackName": "coursehook",
    "AWS::URLSuffix": "amazonaws.com",
}

# The forms of ARNs, by type of resource.
ARNS = {
    "AWS::ApiGateway::RestApi": "arn:aws:apigateway:{region}::/restapis/{name}",
    "AWS::CloudWatch::Alarm": "arn:aws:cloudwatch:{region}:{account}:alarm:{name}",
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:{region}:{account}:table/{name}",
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::{account}:policy/{name}",
    "AWS::IAM::Role": "arn:aws:iam::{account}:role/{name}",
    "AWS::Lambda::Function": "arn:aws:lambda:{region}:{account}:function:{name}",
    "AWS::Logs::LogGroup": "arn:aws:logs:{region}:{account}:log-group:{name}:*",
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:{name}",
    "AWS::Scheduler::Schedule": "arn:aws:scheduler:{region}:{account}:schedule/default/{name}",
    "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:{region}:{account}:secret:{name}-a1b2c3",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{name}",
    "AWS::StepFunctions::StateMachine": "arn:aws:states:{region}:{account}:stateMachine:{name}",
}

# The types whose `Ref` is the ARN; for others it is the name.
KNOWN_BY_ARN = {
    "AWS::IAM::ManagedPolicy",
    "AWS::SecretsManager::Secret",
    "AWS::SNS::Topic",
    "AWS::StepFunctions::StateMachine",
}


def arn(kind, name):
    """Returns the ARN of a resource, in the form of AWS."""
    return ARNS.get(kind, "{name}.Arn").format(region=REGION, account=ACCOUNT, name=name)


def stream_arn(table):
    """Returns the ARN of a table's stream. A real one ends in a time with colons, which
    parliament does not expect in a name."""
    return f"{arn('AWS::DynamoDB::Table', table)}/stream/2026-01-01"


def deploy(rendered, parameters):
    """Returns a rendered template as CloudFormation deploys it with these parameters."""
    values = {}
    for name, parameter in rendered.get("Parameters", {}).items():
        value = parameters.get(name, parameter.get("Default", ""))
        if parameter["Type"] == "CommaDelimitedList":
            value = [part.strip() for part in str(value).split(",")]
        values[name] = value
    filled = Filled(rendered, values)
    return {
        "Resources": {
            name: filled(body)
            for name, body in rendered["Resources"].items()
            if filled.holds(body.get("Condition"))
        },
        "Outputs": {
            name: filled(body)
            for name, body in rendered.get("Outputs", {}).items()
            if filled.holds(body.get("Condition"))
        },
    }


# The value of `AWS::NoValue`, until it is left out.
ABSENT = object()


class Filled:
    """Evaluates the functions of CloudFormation."""

    def __init__(self, rendered, values):
        self.resources = rendered["Resources"]
        self.conditions = rendered.get("Conditions", {})
        self.mappings = rendered.get("Mappings", {})
        self.values = PSEUDO_PARAMETERS | values

    def holds(self, condition):
        return condition is None or self(self.conditions[condition])

    def __call__(self, value):
        if isinstance(value, list):
            return [part for part in map(self, value) if part is not ABSENT]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            function = FUNCTIONS.get(name)
            if function:
                return function(self, argument)
            if name == "Condition" and isinstance(argument, str):
                return self.holds(argument)
        parts = {key: self(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not ABSENT}

    def ref(self, name):
        if name == "AWS::NoValue":
            return ABSENT
        if name in self.values:
            return self.values[name]
        by_arn = self.resources[name]["Type"] in KNOWN_BY_ARN
        return self.attribute([name, "Arn"]) if by_arn else name

    def attribute(self, argument):
        name, _, attribute = (
            argument.partition(".") if isinstance(argument, str) else (argument[0], "", argument[1])
        )
        kind = self.resources[name]["Type"]
        if attribute == "Arn":
            return arn(kind, name)
        if attribute == "StreamArn":
            return stream_arn(name)
        return name if attribute.endswith("Name") else f"{name}.{attribute}"

    def substitute(self, argument):
        text, own = (argument, {}) if isinstance(argument, str) else argument
        own = {name: self(value) for name, value in own.items()}

        def fill(match):
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in own:
                return str(own[name])
            return str(self.attribute(name) if "." in name else self.ref(name))

        return re.sub(r"\$\{([^}]+)\}", fill, text)

    def choose(self, argument):
        condition, then, otherwise = argument
        return self(then if self.holds(condition) else otherwise)

    def join(self, argument):
        separator, parts = argument
        return separator.join(map(str, self(parts)))


FUNCTIONS = {
    "Ref": Filled.ref,
    "Fn::GetAtt": Filled.attribute,
    "Fn::Sub": Filled.substitute,
    "Fn::If": Filled.choose,
    "Fn::Join": Filled.join,
    "Fn::Split": lambda filled, argument: filled(argument[1]).split(argument[0]),
    "Fn::Select": lambda filled, argument: filled(argument[1])[int(argument[0])],
    "Fn::FindInMap": lambda filled, argument: functools.reduce(
        dict.__getitem__, filled(argument), filled.mappings
    ),
    "Fn::ToJsonString": lambda filled, argument: json.dumps(filled(argument)),
    "Fn::Equals": lambda filled, argument: str(filled(argument[0])) == str(filled(argument[1])),
    "Fn::Not": lambda filled, argument: not filled(argument[0]),
    "Fn::And": lambda filled, argument: all(filled(argument)),
    "Fn::Or": lambda filled, argument: any(filled(argument)),
}
