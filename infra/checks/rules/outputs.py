"""Outputs: the values of a stack that `coursehook`, the portal and people need."""

from check import check
from deployed import stream_arn

from .api import REST_API, paths_of
from .secrets import SECRET
from .tables import TABLE


@check
def everything(stack):
    """A value without an output must be looked up in the console."""
    values = {output["Value"] for output in stack.deployed["Outputs"].values()}

    def out(thing, value, what):
        return thing.must(value in values, f"does not put out {what}", f"add an output of {what}")

    for thing in stack.all(TABLE, SECRET, "AWS::Logs::LogGroup", "AWS::SQS::Queue"):
        yield out(thing, thing.arn if thing.type == SECRET else thing.name, "its name")
    for thing in stack.all("AWS::StepFunctions::StateMachine", "AWS::IAM::ManagedPolicy"):
        yield out(thing, thing.arn, "its ARN")
    for table in stack.all(TABLE):
        if "StreamSpecification" in table:
            yield out(table, stream_arn(table.name), "the ARN of its stream")
    for api in stack.all(REST_API):
        for path in paths_of(api):
            is_out = any(
                value.rstrip("/").endswith(path.rstrip("/"))
                for value in values
                if value.startswith(f"https://{api.name}.")
            )
            yield api.must(is_out, f"does not put out the URL of {path}", "add an output of it")
    for dashboard in stack.all("AWS::CloudWatch::Dashboard"):
        names = (dashboard.name, dashboard.get("DashboardName", dashboard.name))
        is_out = any(value.startswith("https://") and value.endswith(names) for value in values)
        yield dashboard.must(is_out, "does not put out its URL", "add an output of it")
