"""State machines."""

from check import check

MACHINE = "AWS::StepFunctions::StateMachine"


@check
def logged_without_data(stack):
    """Failed executions must be logged, without data: an input may name a learner."""
    for machine in stack.all(MACHINE):
        logging = machine.get("LoggingConfiguration", {})
        yield machine.must(
            logging.get("Level", "OFF") != "OFF"
            and logging.get("IncludeExecutionData") is False
            and logging.get("Destinations"),
            "has no log, or one with inputs",
            "set Logging, with a Level, a log group, and IncludeExecutionData: false",
        )


@check
def traced(stack):
    """A trace of a sweep goes from the execution through its calls to the tables."""
    for machine in stack.all(MACHINE):
        yield machine.must(
            machine.at("TracingConfiguration", "Enabled") is True,
            "is not traced",
            "set Tracing: {Enabled: true}",
        )
