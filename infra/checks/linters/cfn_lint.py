"""cfn-lint: types and values of properties, references, the state machines."""

import functools
import json

from cfnlint.api import lint

from check import Verdict, check
from deployed import deploy
from stack import PARAMETERS


@check
def source(stack):
    """Checks the source, the only form in which a line can be named."""
    yield from verdicts("infra/template.yaml", stack.text)


@check
def rendered(stack):
    """Checks the rendered form, the only one with, for instance, the actions of policies.

    SAM substitutes parameters, so the rendered form may differ by environment."""
    seen = set()
    for name, parameters in {"defaults": {}, **stack.environments}.items():
        parameters = PARAMETERS | parameters
        template = stack.render(parameters)
        deployed = deploy(template, parameters)
        for machine, body in template["Resources"].items():
            if body["Type"] == "AWS::StepFunctions::StateMachine" and machine in deployed["Resources"]:
                define(body["Properties"], deployed["Resources"][machine]["Properties"])
        text = json.dumps(template)
        if text not in seen:
            seen.add(text)
            yield from verdicts(f"rendered for {name}", text)


def define(properties, deployed):
    """Converts the definition to the form that the linter checks, without substitutions."""
    text = properties.pop("DefinitionString")
    for name, value in deployed.get("DefinitionSubstitutions", {}).items():
        text = text.replace(f"${{{name}}}", str(value))
    properties.pop("DefinitionSubstitutions", None)
    properties["Definition"] = json.loads(text)


def verdicts(subject, text):
    matches = lint_once(text)
    for match in matches:
        path = ".".join(map(str, getattr(match, "path", None) or []))
        place = f"{subject}:{match.linenumber}" if match.linenumber > 1 else f"{subject}: {path}"
        yield Verdict(
            place, f"{match.rule.id} {match.message}", match.rule.source_url or match.rule.description
        )
    if not matches:
        yield Verdict(subject)


@functools.cache
def lint_once(text):
    return lint(text)
