"""The API: both spellings of each path must reach the function, and no log may get a user's
token."""

import ipaddress
import json
import re

from check import Verdict, check
from deployed import deploy
from stack import PARAMETERS

REST_API = "AWS::ApiGateway::RestApi"
STAGE = "AWS::ApiGateway::Stage"

# The fields of a request that the access log may have, besides the caller's address and the
# outcome: none of them holds a header, a query, a body, or a path as it was sent.
LOGGED = re.compile(
    r"\$context\.(requestId|extendedRequestId|apiId|stage|requestTime|requestTimeEpoch|httpMethod|resourcePath"
    r"|protocol|status|responseLength|responseLatency|xrayTraceId|identity\.sourceIp|identity\.userAgent"
    r"|error\.responseType|waf\.status"
    r"|integration(\.(status|latency|requestId|integrationStatus)|Latency|Status))"
)


@check
def paths(stack):
    """The senders' URLs end in a slash. A REST API answers a path with and without it if the
    path is written without; an HTTP API has no path that ends in one."""
    for api in stack.all("AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Route"):
        yield Verdict(
            api.name, "is an HTTP API, which answers no path that ends in a slash", "make it a REST API"
        )
    for api in stack.all(REST_API):
        for path in paths_of(api):
            yield api.must(not path.endswith("/"), f"has the path {path}", "write it without the last slash")


@check
def any_method(stack):
    """The function answers 405, in the contract's form; the gateway would answer 403."""
    for api in stack.all(REST_API):
        for path, methods in paths_of(api).items():
            integration = methods.get("x-amazon-apigateway-any-method", {}).get(
                "x-amazon-apigateway-integration", {}
            )
            yield api.must(
                set(methods) == {"x-amazon-apigateway-any-method"}
                and integration.get("type") == "aws_proxy"
                and integration.get("httpMethod") == "POST",
                f"does not hand every method of {path} to a function",
                "give the path an x-amazon-apigateway-any-method alone, of type aws_proxy and httpMethod POST",
            )


@check
def regional(stack):
    """One LMS calls from one place, so a route through CloudFront would only be longer."""
    for api in stack.all(REST_API):
        yield api.must(
            api.at("EndpointConfiguration", "Types") == ["REGIONAL"],
            "is not regional",
            "set EndpointConfiguration: {Type: REGIONAL}",
        )


@check
def permissions(stack):
    """Another API, of this account or another, must not reach the functions."""
    apis = [api.name for api in stack.all(REST_API)]
    for permission in stack.all("AWS::Lambda::Permission"):
        if permission.get("Principal") == "apigateway.amazonaws.com":
            source = permission.get("SourceArn", "")
            yield permission.must(
                any(f":{api}/" in source for api in apis),
                "lets any API call the function",
                "set a SourceArn that names the API",
            )


@check
def allow_list(stack):
    """AllowedAddresses must admit only those addresses, and all addresses if it is empty."""
    for name in [api.name for api in stack.all(REST_API)]:
        policies = {}
        for allowed in (PARAMETERS["AllowedAddresses"], ""):
            deployed = deploy(stack.rendered, PARAMETERS | {"AllowedAddresses": allowed})
            api = deployed["Resources"][name]["Properties"]
            policies[allowed] = api["Body"].get("x-amazon-apigateway-policy")
        lets_in = {
            allowed: [admits(policy, address) for address in ("192.0.2.7", "198.51.100.7", "198.51.100.8")]
            for allowed, policy in policies.items()
        }
        yield stack.resources[name].must(
            list(lets_in.values()) == [[True, True, False], [True, True, True]],
            f"lets in others than AllowedAddresses says: {json.dumps(lets_in)}",
            "give it a policy that allows execute-api:Invoke on aws:SourceIp, where AllowedAddresses is not empty",
        )


@check
def traced(stack):
    """A trace begins at the gateway."""
    for stage in stack.all(STAGE):
        yield stage.must(stage.get("TracingEnabled") is True, "is not traced", "set TracingEnabled: true")


@check
def no_execution_log(stack):
    """Data tracing logs bodies and tokens, and so does the level INFO."""
    for stage in stack.all(STAGE):
        settings = stage.get("MethodSettings", [])
        yield stage.must(
            any((one.get("ResourcePath"), one.get("HttpMethod")) == ("/*", "*") for one in settings)
            and all(
                one.get("DataTraceEnabled") is False and one.get("LoggingLevel") == "OFF" for one in settings
            ),
            "logs what it executes",
            'set DataTraceEnabled: false and LoggingLevel: "OFF" for each method, /* and * among them',
        )


@check
def throttled(stack):
    """Without a limit of its own an API shares the limit of all the account's APIs."""
    for stage in stack.all(STAGE):
        settings = stage.get("MethodSettings", [])
        yield stage.must(
            all(
                float(one.get(key, 0)) > 0
                for one in settings
                for key in ("ThrottlingBurstLimit", "ThrottlingRateLimit")
            ),
            "has no limit of its own",
            "set ThrottlingBurstLimit and ThrottlingRateLimit in MethodSettings",
        )


@check
def access_log(stack):
    """The access log shows why a delivery did not reach a function, or that it never came."""
    groups = {group.arn.removesuffix(":*") for group in stack.all("AWS::Logs::LogGroup")}
    for stage in stack.all(STAGE):
        destination = stage.at("AccessLogSetting", "DestinationArn") or ""
        yield stage.must(
            destination.removesuffix(":*") in groups and isinstance(line_of(stage), dict),
            "has no access log of JSON lines",
            "set AccessLogSetting, with a log group of the template and a Format that is a JSON object",
        )


@check
def access_log_is_discreet(stack):
    """The gateway must not log a token, an address or a query, which no function logs."""
    for stage in stack.all(STAGE):
        text = stage.at("AccessLogSetting", "Format") or ""
        others = {word for word in re.findall(r"\$[\w.]+", text) if not LOGGED.fullmatch(word)}
        yield stage.must(
            not others,
            f"logs what may be a credential: {', '.join(sorted(others))}",
            "remove it; $context.resourcePath is the path that does no harm",
        )


@check
def access_log_filters(stack):
    """A pattern with a field that the access log lacks matches nothing, and its alarm is never
    raised. Each field is a text."""
    for stage in stack.all(STAGE):
        fields = line_of(stage)
        for counted in stack.all("AWS::Logs::MetricFilter"):
            pattern = counted["FilterPattern"]
            compared = re.fullmatch(r'\{ \$\.(\w+) = "[^"]+" \}', pattern)
            yield counted.must(
                # Without such a log, only its absence is reported.
                not isinstance(fields, dict) or (compared is not None and compared[1] in fields),
                f"has the pattern {pattern}, which no line of the access log matches",
                "compare a field of the stage's AccessLogSetting with a text",
            )


def line_of(stage):
    """Returns the fields in a line of a stage's access log, or None if it is no JSON."""
    try:
        return json.loads(stage.at("AccessLogSetting", "Format") or "null")
    except ValueError:
        return None


def paths_of(api):
    """Returns the methods of an API, by path."""
    return api["Body"]["paths"]


def admits(policy, address):
    """True if a resource policy admits a request from this address."""
    if not policy:
        return True
    effects = {statement["Effect"] for statement in policy["Statement"] if applies(statement, address)}
    return "Allow" in effects and "Deny" not in effects


def applies(statement, address):
    """True if a statement applies to requests from this address."""
    address = ipaddress.ip_address(address)

    def among(networks):
        networks = networks if isinstance(networks, list) else [networks]
        return any(address in ipaddress.ip_network(network) for network in networks if network)

    conditions = statement.get("Condition", {})
    return all(
        among(conditions[operator]["aws:SourceIp"]) is expected
        for operator, expected in (("IpAddress", True), ("NotIpAddress", False))
        if operator in conditions
    )
