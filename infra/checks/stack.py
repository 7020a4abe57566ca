"""Reads, renders and evaluates the template.

There are three forms of it. The source is `infra/template.yaml` as people write it. The rendered
form is SAM's translation of it, which CloudFormation gets. The deployed form is CloudFormation's
evaluation of the rendered form, for one choice of parameters. Rules check the deployed form.
"""

import functools
import json
import logging
import pathlib
import tomllib
from dataclasses import dataclass

import cfnlint.decode
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from check import Verdict
from deployed import ACCOUNT, REGION, arn, deploy

# Its warnings are of no use here.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

INFRA = pathlib.Path(__file__).resolve().parent.parent
DOCS = INFRA.parent / "docs"

# Rules check the stack with all of its optional parts.
PARAMETERS = {
    "LmsUrl": "https://lms.example.org",
    "AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms",
    "AllowedAddresses": "192.0.2.0/24,198.51.100.7/32",
}


class Resource(dict):
    """The properties of a resource, as deployed."""

    def __init__(self, name, body):
        super().__init__(body.get("Properties", {}))
        self.name = name
        self.type = body["Type"]
        self.deletion_policy = body.get("DeletionPolicy")
        self.update_replace_policy = body.get("UpdateReplacePolicy")

    @property
    def arn(self):
        return arn(self.type, self.name)

    def at(self, *path):
        """Returns the value under these keys, or None."""
        value = self
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def must(self, is_so, fault, remedy):
        """Returns a verdict on this resource."""
        return Verdict(self.name) if is_so else Verdict(self.name, fault, remedy)


@dataclass(eq=False)
class Stack:
    """The template and the files beside it."""

    # The template, with `Fn::` functions in place of tags.
    source: dict
    # The template's text, for the lines that a linter names.
    text: str
    # The definitions of state machines, by their path in the template.
    definitions: dict
    # The parameters of each environment of infra/environments.
    environments: dict
    # The pages of docs/, by name; an empty text if there is no such page.
    pages: dict
    # The accepted findings of the linters: the tables of exceptions.toml.
    exceptions: list

    @classmethod
    def read(cls):
        """Reads the stack from this repository."""
        template = INFRA / "template.yaml"
        source = decode(template)
        uris = {
            resource["Properties"].get("DefinitionUri")
            for resource in source["Resources"].values()
            if resource["Type"] == "AWS::Serverless::StateMachine"
        }
        pages = {name: DOCS / name for name in ("alarms.md", "metrics.md")}
        with open(pathlib.Path(__file__).parent / "exceptions.toml", "rb") as file:
            exceptions = tomllib.load(file)["exception"]
        return cls(
            source=source,
            text=template.read_text(),
            definitions={uri: decode(INFRA / uri) for uri in uris if uri},
            environments={
                path.stem: {name: str(value) for name, value in decode(path).items()}
                for path in sorted((INFRA / "environments").glob("*.yaml"))
            },
            pages={name: page.read_text() if page.exists() else "" for name, page in pages.items()},
            exceptions=exceptions,
        )

    def render(self, parameters):
        """Returns the rendered form: SAM's own translation, with the definitions of the state
        machines in it, and the code of a function as `s3://coursehook/BINARY.zip`."""
        template = json.loads(json.dumps(self.source))
        # A number is substituted without quotation marks, also in a definition.
        numbers = set()
        for resource in template["Resources"].values():
            properties = resource.get("Properties", {})
            if resource["Type"] == "AWS::Serverless::Function":
                binary = resource["Metadata"]["BuildProperties"]["Binary"]
                properties["CodeUri"] = f"s3://coursehook/{binary}.zip"
            elif resource["Type"] == "AWS::Serverless::Api":
                # It would add the time to the name of the deployment, so that no two renderings
                # were equal.
                properties.pop("AlwaysDeploy", None)
            elif resource["Type"] == "AWS::Serverless::StateMachine":
                uri = properties.pop("DefinitionUri", None)
                properties["Definition"] = json.loads(json.dumps(self.definitions[uri]))
                for name, value in properties.get("DefinitionSubstitutions", {}).items():
                    parameter = template["Parameters"].get(value.get("Ref"), {})
                    if parameter.get("Type") == "Number":
                        numbers.add(name)
        try:
            rendered = Translator({}, Parser(), boto_session=NoSession).translate(template, dict(parameters))
        except InvalidDocumentException as error:
            raise SystemExit(
                "\n".join(["SAM cannot render infra/template.yaml:", *(one.message for one in error.causes)])
            )
        for resource in rendered["Resources"].values():
            if resource["Type"] == "AWS::StepFunctions::StateMachine":
                separator, lines = resource["Properties"]["DefinitionString"]["Fn::Join"]
                text = separator.join(lines)
                for name in numbers:
                    text = text.replace(f'"${{{name}}}"', f"${{{name}}}")
                resource["Properties"]["DefinitionString"] = text
        return rendered

    @functools.cached_property
    def rendered(self):
        """The rendered form, with `PARAMETERS`."""
        return self.render(PARAMETERS)

    @functools.cached_property
    def deployed(self):
        """The deployed form, with `PARAMETERS`."""
        return deploy(self.rendered, PARAMETERS)

    @functools.cached_property
    def resources(self):
        """The resources as deployed, by logical id."""
        return {name: Resource(name, body) for name, body in self.deployed["Resources"].items()}

    def all(self, *types):
        """Returns the resources of these types, as deployed."""
        return [resource for resource in self.resources.values() if resource.type in types]

    def excepts(self, id, resource, detail):
        """True if an exception accepts this finding of a linter."""
        return any(
            self.applies(exception, place, id, resource, detail)
            for exception in self.exceptions
            for place in exception["of"]
        )

    def applies(self, exception, place, id, resource, detail):
        """True if an exception applies to this finding by `place`, one of its places."""
        return (
            id == exception["id"]
            and place in (resource, self.resources[resource].type)
            and exception.get("detail", "") in detail
        )


class NoSession:
    """Spares the translator the search for credentials: it needs only the region."""

    region_name = REGION


def decode(path):
    """Reads a YAML file as cfn-lint does."""
    template, faults = cfnlint.decode.decode(str(path))
    if template is None or faults:
        raise SystemExit("\n".join(f"{path}:{fault.linenumber}: {fault.message}" for fault in faults))
    return json.loads(json.dumps(template))
