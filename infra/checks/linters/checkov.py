"""checkov: settings that are known to be unsafe."""

import functools
import json
import os
import pathlib
import tempfile

# By default it logs its progress.
os.environ.setdefault("LOG_LEVEL", "ERROR")

from checkov.cloudformation.runner import Runner
from checkov.runner_filter import RunnerFilter

from check import Verdict, check


@check
def rendered(stack):
    """Checks the rendered form, in which it finds more than in the source."""
    for record in scan(json.dumps(stack.rendered)):
        resource = record.resource.rpartition(".")[2]
        if record.check_result["result"].value == "PASSED" or stack.excepts(record.check_id, resource, ""):
            yield Verdict(resource)
        else:
            yield Verdict(
                resource,
                f"{record.check_id} {record.check_name}",
                "do as it says, or say in exceptions.toml why not",
            )


@functools.cache
def scan(text):
    """Returns its results for each resource of a rendered template, passed and failed."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "template.json"
        file.write_text(text)
        report = Runner().run(
            root_folder=None,
            files=[str(file)],
            runner_filter=RunnerFilter(framework=["cloudformation"]),
        )
    assert not report.parsing_errors, report.parsing_errors
    # A check that a comment in the template skips counts as failed, since the comment has no
    # reason.
    return report.passed_checks + report.failed_checks + report.skipped_checks
