"""The deployed form must be what AWS would make of the template."""

import json

import pytest

from deployed import Filled, deploy
from stack import PARAMETERS

RENDERED = {
    "Resources": {
        "Table": {"Type": "AWS::DynamoDB::Table"},
        "Secret": {"Type": "AWS::SecretsManager::Secret"},
        "Queue": {"Type": "AWS::SQS::Queue"},
    },
    "Conditions": {
        "Yes": {"Fn::Equals": [{"Ref": "Stage"}, "prod"]},
        "No": {"Fn::Not": [{"Condition": "Yes"}]},
        "Both": {"Fn::And": [{"Condition": "Yes"}, {"Condition": "No"}]},
        "Either": {"Fn::Or": [{"Condition": "Yes"}, {"Condition": "No"}]},
    },
    "Mappings": {"Sizes": {"prod": {"Memory": 512}}},
}
TABLE = "arn:aws:dynamodb:eu-central-1:123456789012:table/Table"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:Secret-a1b2c3"


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ({"Ref": "Stage"}, "prod"),
        ({"Ref": "AWS::Partition"}, "aws"),
        ({"Ref": "Table"}, "Table"),
        ({"Ref": "Secret"}, SECRET),
        ({"Fn::GetAtt": ["Table", "Arn"]}, TABLE),
        ({"Fn::GetAtt": "Table.Arn"}, TABLE),
        ({"Fn::GetAtt": ["Queue", "QueueName"]}, "Queue"),
        ({"Fn::Sub": "${Table.Arn}/index/${Stage}/${!Stage}"}, f"{TABLE}/index/prod/${{Stage}}"),
        ({"Fn::Sub": ["${A} ${Stage}", {"A": {"Ref": "Table"}}]}, "Table prod"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Stage"}]]}, "a-prod"),
        ({"Fn::Split": [",", "a,b"]}, ["a", "b"]),
        ({"Fn::Select": [1, ["a", {"Ref": "Stage"}]]}, "prod"),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Stage"}, "Memory"]}, 512),
        ({"Fn::ToJsonString": {"a": {"Ref": "Stage"}}}, '{"a": "prod"}'),
        ({"Fn::If": ["Yes", "a", "b"]}, "a"),
        ({"Fn::If": ["No", "a", "b"]}, "b"),
        ({"Fn::If": ["Both", "a", "b"]}, "b"),
        ({"Fn::If": ["Either", "a", "b"]}, "a"),
        (
            {"A": {"Fn::If": ["No", "a", {"Ref": "AWS::NoValue"}]}, "B": [{"Ref": "AWS::NoValue"}, 1]},
            {"B": [1]},
        ),
        (
            {"Condition": {"StringEquals": {"a": {"Ref": "Stage"}}}},
            {"Condition": {"StringEquals": {"a": "prod"}}},
        ),
    ],
)
def test_functions_are_evaluated(value, filled):
    assert Filled(RENDERED, {"Stage": "prod"})(value) == filled


def test_resources_with_a_false_condition_are_not_deployed(stack):
    schedules = {"GradeSweepMachineSchedule", "GradeSweepSilentAlarm"}
    assert schedules <= stack.resources.keys()
    deployed = deploy(stack.rendered, PARAMETERS | {"GradeSweepSchedule": "off"})
    assert not schedules & deployed["Resources"].keys()


def test_an_evaluated_definition_can_be_parsed(stack):
    machine = stack.resources["GradeSweepMachine"]
    text = machine["DefinitionString"]
    for name, value in machine["DefinitionSubstitutions"].items():
        text = text.replace(f"${{{name}}}", str(value))
    assert json.loads(text)["States"]["Runs"]["MaxConcurrency"] == 1
