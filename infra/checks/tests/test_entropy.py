"""The results of `infra/check-entropy.py` for programs with and without the jitter library."""

import importlib.util
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "check-entropy.py"


@pytest.fixture(scope="module")
def table():
    """Returns the table of the jitter library in Cargo.lock."""
    spec = importlib.util.spec_from_file_location("check_entropy", SCRIPT)
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    return check.jitter_table(check.source().read_text())


@pytest.mark.parametrize(
    ("has_aws_lc", "has_jitter", "said"),
    [
        (True, False, None),
        (True, True, "has the CPU jitter entropy"),
        (False, False, "has no AWS-LC"),
    ],
)
def test_each_program_is_checked(tmp_path, table, has_aws_lc, has_jitter, said):
    good, other = tmp_path / "good", tmp_path / "other"
    good.write_bytes(b"\x7fELF CRYPTOGAMS")
    other.write_bytes(b"\x7fELF" + has_aws_lc * b" CRYPTOGAMS" + has_jitter * table)
    # Each program is checked, in any position.
    for programs in ([good, other], [other, good]):
        ran = subprocess.run([sys.executable, SCRIPT, *programs], capture_output=True, text=True)
        assert ran.returncode == (0 if said is None else 1)
        assert (said or "") in ran.stderr and str(good) not in ran.stderr


def test_no_program_is_an_error():
    ran = subprocess.run([sys.executable, SCRIPT], capture_output=True)
    assert ran.returncode == 1
