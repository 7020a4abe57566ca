"""The template passes every check, and each check fails on a template with its error."""

import copy
import dataclasses
import json

import pytest

# The checks register themselves when they are imported.
import linters
import rules
from rules.answers import PASSING, UNKNOWN_PATH
from check import CHECKS, faults, report, run

LINTERS = [name for name in CHECKS if CHECKS[name].__module__.startswith("linters.")]
RULES = [name for name in CHECKS if CHECKS[name].__module__.startswith("rules.")]
FIELDS = {"definitions", "environments", "pages", "exceptions"}

REMOVED = object()


def altered(stack, changes):
    """Returns the stack with other values. A path is a list of keys, in the template if it does
    not begin with another field of the stack."""
    changes = changes(stack) if callable(changes) else changes
    parts = {field: copy.deepcopy(getattr(stack, field)) for field in ("source", *FIELDS)}
    for path, value in changes.items():
        *keys, last = path.split()
        place = parts if path.split()[0] in FIELDS else parts["source"]
        for key in keys:
            place = place[int(key) if isinstance(place, list) else key]
        if last == "+":
            place.append(value)
            continue
        last = int(last) if isinstance(place, list) else last
        if value is REMOVED:
            del place[last]
        else:
            place[last] = value(place[last]) if callable(value) else value
    return dataclasses.replace(stack, text=json.dumps(parts["source"]), **parts)


def failed(stack, names):
    """Returns the checks that find errors, with these errors."""
    return {name: faults(verdicts) for name, verdicts in run(stack, names) if faults(verdicts)}


def statement(sid, *actions, resource):
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": resource}


def att(name):
    return {"Fn::GetAtt": [name, "Arn"]}


def dashboard(change):
    """Returns a change to the widgets of the dashboard, as deployed."""

    def changes(stack):
        body = json.loads(stack.resources["Dashboard"]["DashboardBody"])
        change(body["widgets"])
        return {"Resources Dashboard Properties DashboardBody": json.dumps(body)}

    return changes


def graph(*row):
    """Returns a change that adds a graph of this row."""
    place = {"x": 0, "y": 1000, "width": 6, "height": 6}
    return dashboard(
        lambda widgets: widgets.append(place | {"type": "metric", "properties": {"metrics": [list(row)]}})
    )


def logging(variable):
    """Returns the format of an access log with this variable, besides the fields that filters
    compare."""
    return json.dumps({"status": "$context.status", "error": "$context.error.responseType", "more": variable})


TABLE = "Resources GradesTable Properties"
API = "Resources Api Properties"
WEBHOOK = "Resources EnrollmentWebhookFunction Properties"
ROLE = "Resources EnrollmentWebhookRole Properties"
TRUST = "Resources SweepMachinesScheduleRole Properties AssumeRolePolicyDocument Statement"
STATEMENTS = f"{ROLE} Policies 0 PolicyDocument Statement"
PATH = f"{API} DefinitionBody paths /api/openedx_webhook/enrollment"
METHOD = f"{PATH} x-amazon-apigateway-any-method"
MACHINE = "Resources GradeSweepMachine Properties"
ALARM = "Resources DeadEventsAlarm Properties"
RESPONSES = f"{API} DefinitionBody x-amazon-apigateway-gateway-responses"
OWN = "Coursehook/coursehook"

WRONG_FOR_LINTERS = [
    ("cfn-lint/source", {f"{WEBHOOK} CodeUri": ["../"]}),
    ("cfn-lint/rendered", {"definitions sweep.asl.yaml StartAt": "Nowhere"}),
    ("cfn-lint/rendered", {"definitions sweep.asl.yaml States Settle Seconds": -1}),
    (
        "checkov/rendered",
        {
            "Resources Bucket": {
                "Type": "AWS::S3::Bucket",
                "DeletionPolicy": "Retain",
                "UpdateReplacePolicy": "Retain",
            }
        },
    ),
    (
        "parliament/policies",
        {f"{STATEMENTS} +": statement("More", "dynamodb:GetItem", resource=att("EnrollmentWebhookLogGroup"))},
    ),
    ("exceptions/needed", {"exceptions +": {"id": "CKV_AWS_18", "of": ["UsersTable"], "reason": "None."}}),
    ("exceptions/needed", {"exceptions 0 of +": "PendingEventsFailureQueue"}),
]

WRONG_FOR_RULES = [
    ("tables/point-in-time-recovery", {f"{TABLE} PointInTimeRecoverySpecification": REMOVED}),
    (
        "tables/point-in-time-recovery",
        {f"{TABLE} PointInTimeRecoverySpecification PointInTimeRecoveryEnabled": False},
    ),
    ("tables/encrypted", {f"{TABLE} SSESpecification": REMOVED}),
    ("tables/on-demand", {f"{TABLE} BillingMode": "PROVISIONED"}),
    ("tables/deletion-protection", {f"{TABLE} DeletionProtectionEnabled": False}),
    ("tables/retained", {"Resources GradesTable DeletionPolicy": "Delete"}),
    ("tables/retained", {"Resources GradesTable UpdateReplacePolicy": REMOVED}),
    ("tables/indexes", {f"{TABLE} GlobalSecondaryIndexes 0 Projection ProjectionType": "ALL"}),
    (
        "tables/indexes",
        {
            f"{TABLE} GlobalSecondaryIndexes 0 Projection": {
                "ProjectionType": "INCLUDE",
                "NonKeyAttributes": ["history"],
            }
        },
    ),
    (
        "tables/streams",
        {
            f"{TABLE} StreamSpecification": {"StreamViewType": "KEYS_ONLY"},
            "Outputs GradesStream": {"Value": {"Fn::GetAtt": ["GradesTable", "StreamArn"]}},
        },
    ),
    ("tables/streams", {"Resources EnrollmentsTable Properties StreamSpecification": REMOVED}),
    ("secrets/retained", {"Resources OpenedxApiSecret DeletionPolicy": "Delete"}),
    ("secrets/without-value", {"Resources OpenedxApiSecret Properties GenerateSecretString": {}}),
    ("secrets/without-value", {"Resources OpenedxApiSecret Properties SecretString": "{}"}),
    ("functions/traced", {f"{WEBHOOK} Tracing": "PassThrough"}),
    ("functions/json-logs", {"Globals Function LoggingConfig LogFormat": "Text"}),
    ("functions/own-role", {f"{WEBHOOK} Role": "arn:aws:iam::123456789012:role/Somebody"}),
    (
        "functions/own-role",
        {
            "Resources LmsEventsFunction Properties Role": att("CertificateWebhookRole"),
            "Resources LmsEventsFunction Properties Environment Variables WEBHOOK_TOKENS_SECRET": {
                "Ref": "WebhookTokensSecret"
            },
        },
    ),
    ("functions/own-log-group", {f"{WEBHOOK} LoggingConfig LogGroup": {"Ref": "OwnEventsLogGroup"}}),
    ("functions/own-log-group", {f"{WEBHOOK} LoggingConfig LogGroup": REMOVED}),
    ("functions/in-time", {f"{WEBHOOK} Timeout": 29}),
    ("functions/bounded", {"Resources GradeSweepFunction Properties ReservedConcurrentExecutions": REMOVED}),
    ("functions/variables", {f"{WEBHOOK} Environment Variables PEOPLE_TABLE": {"Ref": "UsersTable"}}),
    (
        "functions/variables",
        {
            f"{WEBHOOK} Environment Variables USERS_TABLE": {"Ref": "CourseRunsTable"},
            f"{WEBHOOK} Environment Variables COURSE_RUNS_TABLE": {"Ref": "UsersTable"},
        },
    ),
    ("logs/retention", {"Resources SweepMachinesLogGroup Properties RetentionInDays": REMOVED}),
    (
        "permissions/no-managed-policies",
        {f"{ROLE} ManagedPolicyArns": ["arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"]},
    ),
    (
        "permissions/no-wildcard-actions",
        {"Resources GradeSweepMachinePolicy Properties PolicyDocument Statement 0 Action": "states:*"},
    ),
    (
        "permissions/no-wildcard-actions",
        {f"{STATEMENTS} +": {"Effect": "Allow", "Action": "dynamodb:Scan", "NotResource": att("UsersTable")}},
    ),
    ("permissions/no-wildcard-actions", {f"{STATEMENTS} 2 Action": "dynamodb:*"}),
    (
        "permissions/no-wildcard-actions",
        {
            f"{STATEMENTS} 2": {
                "Effect": "Allow",
                "NotAction": "dynamodb:Scan",
                "Resource": att("EnrollmentsTable"),
            }
        },
    ),
    ("permissions/named-resources", {f"{STATEMENTS} +": statement("More", "dynamodb:GetItem", resource="*")}),
    (
        "permissions/named-resources",
        {f"{STATEMENTS} +": statement("More", "dynamodb:GetItem", resource="arn:aws:dynamodb:*:*:table/*")},
    ),
    ("permissions/named-resources", {f"{STATEMENTS} 6 Action +": "xray:GetSamplingRules"}),
    (
        "permissions/environments-and-roles",
        {f"{WEBHOOK} Environment Variables GRADES_TABLE": {"Ref": "GradesTable"}},
    ),
    (
        "permissions/environments-and-roles",
        {f"{STATEMENTS} +": statement("More", "dynamodb:GetItem", resource=att("GradesTable"))},
    ),
    (
        "permissions/environments-and-roles",
        {
            f"{STATEMENTS} +": statement(
                "More", "dynamodb:Query", resource={"Fn::Sub": "${GradesTable.Arn}/index/by_course_id"}
            )
        },
    ),
    (
        "permissions/environments-and-roles",
        {
            f"{STATEMENTS} +": statement(
                "More", "secretsmanager:GetSecretValue", resource={"Ref": "OpenedxApiSecret"}
            )
        },
    ),
    (
        "permissions/size",
        {
            "Resources GradeSweepMachinePolicy Properties PolicyDocument Statement +": statement(
                "More", *["states:StartExecution"] * 500, resource={"Ref": "GradeSweepMachine"}
            )
        },
    ),
    (
        "permissions/size",
        {
            f"{STATEMENTS} +": statement(
                "More", *["dynamodb:UpdateItem"] * 500, resource=att("EnrollmentsTable")
            )
        },
    ),
    (
        "permissions/portal-reads",
        {
            "Resources PortalReadPolicy Properties PolicyDocument Statement 0 Action": [
                "dynamodb:GetItem",
                "dynamodb:PutItem",
            ]
        },
    ),
    (
        "permissions/trusted",
        {f"{TRUST} 0 Principal Service": ["scheduler.amazonaws.com", "s3.amazonaws.com"]},
    ),
    ("permissions/trusted", {f"{TRUST} 0 Principal": "*"}),
    ("permissions/trusted", {f"{TRUST} +": {"Principal": {"AWS": "*"}}}),
    (
        "permissions/trusted",
        {
            "Resources SweepMachinesScheduleRole Properties AssumeRolePolicyDocument Statement 0 Principal": {
                "AWS": "*"
            }
        },
    ),
    (
        "api/paths",
        {
            f"{API} DefinitionBody paths": lambda paths: {
                "/api/openedx_webhook/enrollment/": paths["/api/openedx_webhook/enrollment"],
                **{path: paths[path] for path in paths if "certificate" in path},
            }
        },
    ),
    (
        "api/paths",
        {
            "Resources HttpApi": {
                "Type": "AWS::Serverless::HttpApi",
                "Properties": {"StageName": "v2", "DefinitionBody": {"openapi": "3.0.1", "paths": {}}},
            }
        },
    ),
    ("api/any-method", {f"{PATH} options": {"x-amazon-apigateway-integration": {"type": "mock", "uri": ""}}}),
    ("api/any-method", {f"{METHOD} x-amazon-apigateway-integration httpMethod": "GET"}),
    (
        "api/any-method",
        {
            f"{API} DefinitionBody paths /api/openedx_webhook/enrollment": lambda methods: {
                "post": methods["x-amazon-apigateway-any-method"]
            }
        },
    ),
    (
        "api/any-method",
        {f"{METHOD} x-amazon-apigateway-integration type": "aws"},
    ),
    ("api/regional", {f"{API} EndpointConfiguration Type": "EDGE"}),
    ("api/permissions", {"Resources EnrollmentWebhookPermission Properties SourceArn": REMOVED}),
    ("api/allow-list", {f"{API} DefinitionBody x-amazon-apigateway-policy Statement 0": REMOVED}),
    ("api/allow-list", {f"{API} DefinitionBody x-amazon-apigateway-policy": REMOVED}),
    (
        "api/allow-list",
        {
            f"{API} DefinitionBody x-amazon-apigateway-policy Statement 1": lambda statement: statement[
                "Fn::If"
            ][1]
        },
    ),
    ("api/traced", {f"{API} TracingEnabled": False}),
    ("api/no-execution-log", {f"{API} MethodSettings 0 DataTraceEnabled": True}),
    ("api/no-execution-log", {f"{API} MethodSettings 0 LoggingLevel": "INFO"}),
    ("api/no-execution-log", {f"{API} MethodSettings 0 HttpMethod": "POST"}),
    ("api/throttled", {f"{API} MethodSettings 0 ThrottlingBurstLimit": REMOVED}),
    ("api/throttled", {f"{API} MethodSettings 0 ThrottlingRateLimit": REMOVED}),
    (
        "api/access-log",
        {f"{API} AccessLogSetting DestinationArn": "arn:aws:logs:eu-central-1:123456789012:log-group:other"},
    ),
    ("api/access-log", {f"{API} AccessLogSetting": REMOVED}),
    ("api/access-log", {f"{API} AccessLogSetting Format": "$context.requestId $context.status"}),
    ("api/access-log-is-discreet", {f"{API} AccessLogSetting Format": logging("$context.path")}),
    (
        "api/access-log-is-discreet",
        {f"{API} AccessLogSetting Format": logging("$context.authorizer.token")},
    ),
    ("api/access-log-is-discreet", {f"{API} AccessLogSetting Format": logging("$input.params().header")}),
    (
        "api/access-log-filters",
        {"Resources ThrottledRequestsFilter Properties FilterPattern": '{ $.code = "429" }'},
    ),
    (
        "api/access-log-filters",
        {"Resources ThrottledRequestsFilter Properties FilterPattern": "{ $.status = 429 }"},
    ),
    (
        "answers/deployed",
        {
            "Resources Response": {
                "Type": "AWS::ApiGateway::GatewayResponse",
                "Properties": {
                    "RestApiId": {"Ref": "Api"},
                    "ResponseType": "QUOTA_EXCEEDED",
                    "StatusCode": "429",
                    "ResponseTemplates": {"application/json": '{"error": "Try again later"}'},
                },
            }
        },
    ),
    *[
        ("answers/there", {f"{RESPONSES} {kind}": REMOVED})
        for kind in (*PASSING, *UNKNOWN_PATH, "DEFAULT_4XX")
    ],
    ("answers/statuses", {f"{RESPONSES} THROTTLED statusCode": 400}),
    ("answers/statuses", {f"{RESPONSES} MISSING_AUTHENTICATION_TOKEN statusCode": REMOVED}),
    ("answers/retry-after", {f"{RESPONSES} THROTTLED responseParameters": REMOVED}),
    (
        "answers/retry-after",
        {f"{RESPONSES} DEFAULT_5XX responseParameters gatewayresponse.header.Retry-After": "5"},
    ),
    ("answers/bodies", {f"{RESPONSES} DEFAULT_4XX responseTemplates application/json": '{"error": 1}'}),
    ("answers/bodies", {f"{RESPONSES} DEFAULT_4XX responseTemplates": REMOVED}),
    (
        "answers/bodies",
        {
            f"{RESPONSES} DEFAULT_4XX responseTemplates application/json": '{"error": $context.error.messageString}'
        },
    ),
    (
        "answers/bodies",
        {f"{RESPONSES} DEFAULT_4XX responseTemplates application/json": '{"error": "No $context.path"}'},
    ),
    (
        "answers/bodies",
        {f"{RESPONSES} DEFAULT_4XX responseTemplates application/json": '{"message": "Not found"}'},
    ),
    (
        "schedules/can-be-switched-off",
        {
            "Resources Rule": {
                "Type": "AWS::Events::Rule",
                "Properties": {"ScheduleExpression": "rate(1 day)"},
            }
        },
    ),
    ("schedules/can-be-switched-off", {"Resources GradeSweepMachineSchedule Condition": REMOVED}),
    ("schedules/can-be-switched-off", {"Resources OwnEventsSchedule Properties State": REMOVED}),
    (
        "schedules/can-be-switched-off",
        {
            f"Resources {name}Schedule": REMOVED
            for name in ("OwnEvents", "LmsEvents", "GradeSweepMachine", "EnrollmentSweepMachine")
        },
    ),
    ("machines/logged-without-data", {f"{MACHINE} Logging Level": "OFF"}),
    ("machines/logged-without-data", {f"{MACHINE} Logging Destinations": REMOVED}),
    ("machines/logged-without-data", {f"{MACHINE} Logging IncludeExecutionData": True}),
    ("machines/logged-without-data", {f"{MACHINE} Logging": REMOVED}),
    ("machines/traced", {f"{MACHINE} Tracing Enabled": False}),
    ("alarms/notify", {f"{ALARM} ActionsEnabled": False}),
    ("alarms/notify", {f"{ALARM} AlarmActions": REMOVED}),
    ("alarms/notify", {f"{ALARM} OKActions": REMOVED}),
    ("alarms/notify", {f"{ALARM} OKActions": [{"Ref": "ApiGatewayLogRole"}]}),
    (
        "alarms/notify",
        {
            f"{ALARM} AlarmActions": {
                "Fn::If": ["HasAlarmTopic", {"Ref": "AWS::NoValue"}, [{"Ref": "AlarmTopicArn"}]]
            }
        },
    ),
    ("alarms/missing-data", {f"{ALARM} TreatMissingData": REMOVED}),
    ("alarms/documented", {f"{ALARM} AlarmDescription": "Events are dead."}),
    ("alarms/documented", {f"{ALARM} AlarmDescription": "See docs/alarms.md#pending-events-silent."}),
    ("alarms/documented", {"pages alarms.md": lambda page: page.replace("## Dead events", "")}),
    ("alarms/sections-have-alarms", {"pages alarms.md": lambda page: f"{page}\n## Gone with the wind\n"}),
    (
        "dashboard/readable",
        dashboard(
            lambda widgets: widgets.append({"type": "text", "x": 0, "y": 1000, "width": 1, "height": 1})
        ),
    ),
    ("dashboard/readable", dashboard(lambda widgets: widgets[0].pop("type"))),
    ("dashboard/known-widgets", dashboard(lambda widgets: widgets[0].update(type="graph"))),
    (
        "dashboard/no-overlap",
        dashboard(lambda widgets: widgets[1].update(x=widgets[0]["x"], y=widgets[0]["y"])),
    ),
    ("dashboard/no-overlap", dashboard(lambda widgets: widgets[0].update(x=23, y=1000))),
    ("dashboard/shows-alarms", dashboard(lambda widgets: widgets[0]["properties"]["alarms"].pop(0))),
    ("metrics/namespaces", {"Resources DeadEventsAlarm Properties Namespace": "Coursehook"}),
    ("metrics/namespaces", graph("Coursehook", "DeadEvents")),
    ("metrics/namespaces", graph({"expression": "SEARCH('{AWS/Lambda,FunctionName} Errors', 'Sum')"})),
    ("metrics/namespaces", {f"{WEBHOOK} Environment Variables METRICS_NAMESPACE": "Coursehook/other"}),
    ("metrics/documented", graph(OWN, "Delivery", "kind", "enrollment")),
    ("metrics/documented", {f"{ALARM} MetricName": "DeadEvent"}),
    ("metrics/dimensions", {f"{ALARM} Dimensions": [{"Name": "kind", "Value": "enrollment"}]}),
    ("metrics/dimensions", graph(OWN, "DeliveryTime")),
    (
        "metrics/dimensions",
        graph({"expression": f"SEARCH('{{{OWN},kind}} MetricName=\"Deliveries\"', 'Sum')"}),
    ),
    (
        "metrics/is-used",
        {"pages metrics.md": lambda page: f"{page}\n| metric | |\n|---|---|\n| `LmsMood` | |\n"},
    ),
    ("outputs/everything", {"Outputs Dashboard Value": {"Ref": "Dashboard"}}),
    ("outputs/everything", {"Outputs GradesTable": REMOVED}),
    ("outputs/everything", {"Outputs OpenedxApiSecret": REMOVED}),
    ("outputs/everything", {"Outputs EnrollmentsStream": REMOVED}),
    ("outputs/everything", {"Outputs AccessLogGroup": REMOVED}),
    ("outputs/everything", {"Outputs GradeSweepMachine": REMOVED}),
    ("outputs/everything", {"Outputs EnrollmentWebhookUrl": REMOVED}),
    ("outputs/everything", {"Outputs PortalReadPolicy": REMOVED}),
    ("outputs/everything", {"Outputs Dashboard": REMOVED}),
    ("environments/parameters", {"environments dev LogRetentionDays": "week"}),
    ("environments/parameters", {"environments dev StageName": "Development"}),
    ("environments/parameters", {"environments dev LogRetentionDays": "8"}),
    ("environments/parameters", {"environments dev SweepConcurrency": "41"}),
    ("environments/parameters", {"environments dev Stage": "dev"}),
    ("size/template", {"Metadata": {"Much": "." * 1_000_000}}),
]


def test_the_template_passes(stack):
    assert failed(stack, CHECKS) == {}


def test_each_check_has_a_template_that_fails_it():
    assert {name for name, _ in WRONG_FOR_LINTERS} == set(LINTERS)
    assert {name for name, _ in WRONG_FOR_RULES} == set(RULES)


def test_each_check_has_a_docstring():
    assert [name for name in CHECKS if not CHECKS[name].__doc__] == []


@pytest.mark.parametrize(("name", "changes"), WRONG_FOR_LINTERS)
def test_a_linter_finds_what_no_other_check_does(stack, name, changes):
    assert set(failed(altered(stack, changes), CHECKS)) == {name}


@pytest.mark.parametrize(("name", "changes"), WRONG_FOR_RULES)
def test_a_rule_finds_what_no_other_rule_does(stack, name, changes):
    assert set(failed(altered(stack, changes), RULES)) == {name}


def test_checks_skipped_by_a_comment_in_the_template_fail(stack):
    changes = {
        "exceptions": lambda exceptions: [one for one in exceptions if one["id"] != "CKV_AWS_27"],
        "Resources PendingEventsFailureQueue Metadata": {"checkov": {"skip": [{"id": "CKV_AWS_27"}]}},
    }
    assert set(failed(altered(stack, changes), ["checkov/rendered"])) == {"checkov/rendered"}


def test_a_dashboard_that_is_no_json_is_an_error(stack):
    wrong = altered(stack, {"Resources Dashboard Properties DashboardBody": "{"})
    assert "dashboard/readable" in failed(wrong, RULES)


def test_an_error_is_printed_and_returned(stack, capsys):
    wrong = altered(stack, {f"{TABLE} SSESpecification": REMOVED})
    ((name, verdicts),) = run(wrong, ["tables/encrypted"])
    assert not report(name, verdicts)
    assert "tables/encrypted: GradesTable is encrypted with a key that AWS owns\n" in capsys.readouterr().err
    ((name, verdicts),) = run(stack, ["tables/encrypted"])
    assert report(name, verdicts)
    assert capsys.readouterr().out.split() == ["tables/encrypted", "8", "looked", "at"]
