"""Runs `ministack` with patches where it differs from AWS in a way that our template depends on.

    python emulator.py FOLDER...

Each folder holds packages to import in addition to our own: `ministack` applies the SAM transform itself if it can
import `samtranslator`, which is among the packages of the SAM CLI.

The patches change internals of `ministack`, whose version is pinned. Each function says how AWS behaves, and ends the
program if it no longer finds the code that it patches.
"""

import json
import sys

# After our own packages, with whose versions `ministack` was pinned.
sys.path.extend(sys.argv[1:])
del sys.argv[1:]

import yaml
from ministack import app
from ministack.services import apigateway_v1, secretsmanager
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks  # noqa: F401


def expect(found: bool, what: str) -> None:
    """Ends the program if `ministack` has changed since this was written."""
    if not found:
        raise SystemExit(f"{what} in this ministack: check {__file__} again")


def serve_any_method() -> None:
    """An OpenAPI document's `x-amazon-apigateway-any-method` is the method ANY.

    The gateway of `ministack` serves ANY; only its import knows nothing but the verbs, and ignores this key.
    """
    key = "x-amazon-apigateway-any-method"
    verbs = apigateway_v1._OPENAPI_HTTP_METHODS
    expect("get" in verbs and key not in verbs, "the import of methods is another one")
    import_operation = apigateway_v1._import_operation

    def widened(api_id, resource_id, http_method, *rest):
        method = "ANY" if http_method == key.upper() else http_method
        return import_operation(api_id, resource_id, method, *rest)

    verbs.add(key)
    apigateway_v1._import_operation = widened


def import_policy_and_gateway_responses() -> None:
    """An OpenAPI document's `x-amazon-apigateway-policy` is the API's policy, and
    `x-amazon-apigateway-gateway-responses` are its gateway responses. `ministack` ignores both.
    """
    import_rest_api = apigateway_v1._import_rest_api
    read = str(import_rest_api.__code__.co_consts)
    expect("x-amazon-apigateway" not in read, "the import of extensions is another one")

    def widened(document, given=None):
        policy = document.get("x-amazon-apigateway-policy")
        api_id = import_rest_api(document, {**(given or {}), "policy": policy and json.dumps(policy)})
        for kind, response in document.get("x-amazon-apigateway-gateway-responses", {}).items():
            status, _, answer = apigateway_v1._put_gateway_response(api_id, kind, response)
            expect(status == 201, f"the gateway response {kind} is refused ({answer!r})")
        return api_id

    apigateway_v1._import_rest_api = widened


def make_alarms_of_several_metrics() -> None:
    """An alarm may have `Metrics`, metric math. Here it is created, and never evaluated."""
    record = provisioners._cw_metric_alarm_record
    refusal = "Properties.Metrics (metric math) is not supported"
    refused = any(refusal in str(constant) for constant in record.__code__.co_consts)
    expect(refused, "an alarm of several metrics is not refused")

    def widened(name, properties):
        if properties.get("Metrics"):
            rest = {key: value for key, value in properties.items() if key != "Metrics"}
            properties = {**rest, "Namespace": "MetricMath", "MetricName": "NotEvaluated"}
        return record(name, properties)

    provisioners._cw_metric_alarm_record = widened


def refer_to_secrets_by_arn() -> None:
    """`Ref` of a secret is its ARN, and a secret to which the template gives no value has none.

    In `ministack` it is the name, which as the resource of a policy allows nothing, and the value is an empty text.
    """
    handlers = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]
    expect(handlers["create"] is provisioners._sm_secret_create, "a secret is made otherwise")
    create, update, delete = handlers["create"], handlers["update"], handlers["delete"]

    def name_of(arn):
        secrets = secretsmanager._secrets.items()
        return next((name for name, secret in secrets if secret["ARN"] == arn), arn)

    def create_by_arn(logical_id, properties, stack):
        name, attributes = create(logical_id, properties, stack)
        expect(name != attributes["Arn"], "`Ref` of a secret is its ARN already")
        if not properties.keys() & {"SecretString", "GenerateSecretString"}:
            secretsmanager._secrets[name]["Versions"] = {}
        return attributes["Arn"], attributes

    def update_by_arn(arn, *rest, **named):
        _, attributes = update(name_of(arn), *rest, **named)
        return attributes["Arn"], attributes

    def delete_by_arn(arn, properties):
        return delete(name_of(arn), properties)

    handlers.update(create=create_by_arn, update=update_by_arn, delete=delete_by_arn)


def read_definitions_in_yaml() -> None:
    """A state machine's definition in S3 may be YAML. `ministack` parses it as JSON, and every
    execution fails."""
    definition = provisioners._sfn_definition
    expect("yaml" not in definition.__code__.co_names, "a definition in YAML is read")

    def as_json(properties):
        return json.dumps(yaml.safe_load(definition(properties)))

    provisioners._sfn_definition = as_json


def join_in_conditions() -> None:
    """A condition may join a list. `ministack` compares `Fn::Join` as it is written in the
    template."""
    evaluate = engine._evaluate_conditions
    constants = str([code.co_consts for code in evaluate.__code__.co_consts if hasattr(code, "co_consts")])
    expect("Fn::Select" in constants and "Fn::Join" not in constants, "conditions are evaluated otherwise")

    def joined(node, parameters):
        if isinstance(node, list):
            return [joined(item, parameters) for item in node]
        if not isinstance(node, dict):
            return node
        if "Fn::Join" not in node:
            return {key: joined(value, parameters) for key, value in node.items()}
        separator, items = node["Fn::Join"]
        if isinstance(items, dict):
            # A parameter of a list type is one text with commas.
            items = str(parameters[items["Ref"]]["Value"]).split(",")
        return separator.join(items)

    def widened(template, parameters):
        conditions = joined(template.get("Conditions", {}), parameters)
        return evaluate({**template, "Conditions": conditions}, parameters)

    for module in list(sys.modules.values()):
        if getattr(module, "_evaluate_conditions", None) is evaluate:
            module._evaluate_conditions = widened


try:
    import samtranslator.translator.transform  # noqa: F401
except ImportError as missing:
    raise SystemExit(f"the SAM transform cannot be applied: {missing}") from missing
serve_any_method()
import_policy_and_gateway_responses()
make_alarms_of_several_metrics()
refer_to_secrets_by_arn()
read_definitions_in_yaml()
join_in_conditions()
app.main()
