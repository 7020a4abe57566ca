"""The gateway's own answers. The sender drops an event for good on a 4xx, except 408 and 429, so
a temporary error must have another status."""

import json
import re
from dataclasses import dataclass

from check import Verdict, check

from .api import REST_API

# Temporary errors: too many requests at once, too slow, a function that was throttled or did not
# start.
PASSING = ("THROTTLED", "DEFAULT_5XX", "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT")
# The gateway answers 403 for a path that it does not know, as if a token were missing.
UNKNOWN_PATH = ("MISSING_AUTHENTICATION_TOKEN", "RESOURCE_NOT_FOUND")
# The gateway's statuses if none is set.
STATUSES = {
    "THROTTLED": "429",
    "INTEGRATION_FAILURE": "504",
    "INTEGRATION_TIMEOUT": "504",
    "DEFAULT_5XX": "500",
}


@dataclass
class Answer:
    """The gateway's own answer to a kind of error."""

    subject: str
    status: str | None
    headers: dict
    bodies: list


@check
def deployed(stack):
    """A stage answers as of its deployment. SAM creates a new one when the content of the API
    changes, and ignores responses outside of it."""
    for api in stack.all(REST_API):
        yield Verdict(api.name)
    for response in stack.all("AWS::ApiGateway::GatewayResponse"):
        yield Verdict(
            response.name, "is no part of the deployment", "write it in GatewayResponses of the API"
        )


@check
def there(stack):
    """Each kind of error needs an answer: the gateway's default has a form of its own."""
    for api in stack.all(REST_API):
        for kind in (*PASSING, *UNKNOWN_PATH, "DEFAULT_4XX"):
            yield api.must(
                kind in answers(stack),
                f"answers {kind} in the gateway's own form",
                "add it to GatewayResponses",
            )


@check
def statuses(stack):
    """The status must make the sender retry if that can help, and not retry if it cannot."""
    for kind, answer in answers(stack).items():
        status = answer.status or STATUSES.get(kind, "")
        if kind in PASSING:
            fault = (
                None
                if re.fullmatch("429|5..", status)
                else f"answers {kind} by {status}, and the sender drops it"
            )
            yield Verdict(answer.subject, fault, "set a StatusCode of 429 or 5xx")
        elif kind in UNKNOWN_PATH:
            fault = None if status == "404" else f"answers {kind} by {status or 'its own status'}"
            yield Verdict(answer.subject, fault, "set the StatusCode 404")


@check
def retry_after(stack):
    """A temporary error must say when to retry."""
    for kind, answer in answers(stack).items():
        if kind in PASSING:
            is_so = re.fullmatch(r"'\d+'", answer.headers.get("retry-after", ""))
            fault = None if is_so else f"answers {kind} without saying when to come again"
            yield Verdict(
                answer.subject, fault, "add the header Retry-After, seconds in single quotation marks"
            )


@check
def bodies(stack):
    """The body of an error must be `{"error": "<one sentence>"}`, from the gateway too, and must
    repeat nothing of the request."""
    for kind, answer in answers(stack).items():
        yield Verdict(
            answer.subject,
            None
            if answer.bodies and all(map(is_error, answer.bodies))
            else f"answers {kind} with another body",
            'set the ResponseTemplate of application/json to {"error": "..."}, without variables',
        )


def answers(stack):
    """Returns the gateway's own answers, by kind of error, wherever in the template they are."""
    found = {}
    for api in stack.all(REST_API):
        for kind, response in api["Body"].get("x-amazon-apigateway-gateway-responses", {}).items():
            found[kind] = answer(
                api.name,
                response.get("statusCode"),
                response.get("responseParameters", {}),
                response.get("responseTemplates", {}),
            )
    for response in stack.all("AWS::ApiGateway::GatewayResponse"):
        found[response["ResponseType"]] = answer(
            response.name,
            response.get("StatusCode"),
            response.get("ResponseParameters", {}),
            response.get("ResponseTemplates", {}),
        )
    return found


def answer(subject, status, parameters, templates):
    headers = {name.rpartition(".")[2].lower(): value for name, value in parameters.items()}
    return Answer(subject, status and str(status), headers, list(templates.values()))


def is_error(body):
    try:
        parsed = json.loads(body)
    except ValueError:
        return False
    return "$" not in body and set(parsed) == {"error"} and isinstance(parsed["error"], str)
