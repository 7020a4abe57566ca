"""The arguments that `infra/deploy.sh` passes to SAM, and those that it rejects before anything
is built."""

import os
import pathlib
import subprocess

import pytest

INFRA = pathlib.Path(__file__).parents[2]
URL = "https://lms.example.org"


@pytest.fixture
def sam(tmp_path):
    """Creates a SAM that prints its arguments, one a line."""
    program = tmp_path / "sam"
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\" -end-\n")
    program.chmod(0o755)
    # A folder of its own, with a build in it.
    infra = tmp_path / "infra"
    infra.mkdir()
    for name in ("deploy.sh", "template.yaml", "samconfig.toml", "environments"):
        (infra / name).symlink_to(INFRA / name)
    built = tmp_path / ".aws-sam/build/template.yaml"
    built.parent.mkdir(parents=True)
    built.write_text("")
    return program


def deploy(sam, *arguments, **variables):
    variables = {"ENV": "dev", "STACK": "coursehook-dev", "ARCHITECTURE": "x86_64", "LMS_URL": URL} | variables
    environment = {"PATH": os.environ["PATH"], "SAM": str(sam)} | variables
    script = sam.parent / "infra/deploy.sh"
    return subprocess.run([script, *arguments], env=environment, capture_output=True, text=True, check=False)


def overrides(deployed):
    """Returns the parameters that SAM was given, apart from the environment's file."""
    assert deployed.returncode == 0, deployed.stderr
    lines = deployed.stdout.splitlines()
    first = lines.index("--parameter-overrides") + 1
    assert lines[first] == "file://infra/environments/dev.yaml"
    return lines[first + 1 : lines.index("-end-")]


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ("", []),
        ("PaidModes=verified,professional", ['PaidModes="verified,professional"']),
        ("GradeSweepSchedule='rate(12 hours)' PaidModes=audit", ['GradeSweepSchedule="rate(12 hours)"', 'PaidModes="audit"']),
        ("AllowedAddresses=''", ['AllowedAddresses=""']),
        ("PaidModes=a\nStageName=b", ['PaidModes="a"', 'StageName="b"']),
        ("PaidModes=$(id)", ['PaidModes="$(id)"']),
    ],
)
def test_parameters_are_passed_on_unchanged(sam, given, passed_on):
    deployed = deploy(sam, PARAMETERS=given)
    assert overrides(deployed) == ["Architecture=x86_64", f"LmsUrl={URL}", *passed_on]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ENV": ""}, "Which environment?"),
        ({"ENV": "production"}, "There is no infra/environments/production.yaml"),
        ({"LMS_URL": ""}, "Which LMS?"),
        ({"PARAMETERS": "PaidMode=audit"}, "'PaidMode=audit', which is no Name=Value"),
        ({"PARAMETERS": "AllowedAddresses=192.0.2.0/24, 198.51.100.7/32"}, "'198.51.100.7/32', which"),
        ({"PARAMETERS": "PaidModes"}, "'PaidModes', which"),
        ({"PARAMETERS": "PaidModes='audit"}, "a quote without its end"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["check"]])
def test_invalid_arguments_are_rejected(sam, arguments, variables, said):
    deployed = deploy(sam, *arguments, **variables)
    assert (deployed.returncode, deployed.stdout) == (2, "")
    assert said in deployed.stderr


def test_the_check_deploys_nothing(sam):
    deployed = deploy(sam, "check")
    assert (deployed.returncode, deployed.stdout, deployed.stderr) == (0, "", "")
