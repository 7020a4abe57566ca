#!/usr/bin/env python3
"""Fails where a program has AWS-LC's CPU jitter entropy in it: `.cargo/config.toml` leaves
it out of every build. With it the start of a function takes some six times the CPU time.

    infra/check-entropy.py PROGRAM...

The programs have no symbols any more. What tells is a table of the jitter library's health
tests, which is looked up in the sources that are built.
"""

import json
import pathlib
import re
import struct
import subprocess
import sys

SOURCE = "aws-lc/third_party/jitterentropy/jitterentropy-library/src/jitterentropy-health.c"
TABLE = re.compile(r"unsigned int jent_lag_global_cutoff_lookup\[\d+\]\s*=\s*\{([\d,\s]+)\}")
# AWS-LC's assembly names its authors, on every processor that Lambda has.
AWS_LC = b"CRYPTOGAMS"


def main():
    table = jitter_table(source().read_text())
    found = [problem(program, pathlib.Path(program).read_bytes(), table) for program in sys.argv[1:]]
    problems = [problem for problem in found if problem]
    if not found or problems:
        sys.exit("\n".join(problems) or __doc__)


def source():
    """The jitter library's source, of the version of aws-lc-sys in Cargo.lock."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    # Of other platforms it would download what nothing here is built from.
    command += ["--filter-platform", "x86_64-unknown-linux-gnu"]
    packages = json.loads(subprocess.check_output(command))["packages"]
    [manifest] = [p["manifest_path"] for p in packages if p["name"] == "aws-lc-sys"]
    return pathlib.Path(manifest).parent / SOURCE


def jitter_table(text):
    """The table as a program has it: little endian, four bytes a number."""
    found = TABLE.search(text)
    if not found:
        sys.exit(f"{SOURCE} has no such table any more: find another sign of the jitter library.")
    numbers = [int(number) for number in found[1].split(",")]
    return struct.pack(f"<{len(numbers)}I", *numbers)


def problem(name, program, table):
    """What is wrong with a program, if anything is."""
    if AWS_LC not in program:
        return f"{name} has no AWS-LC that could be looked at: find another sign of it."
    if table in program:
        return (
            f"{name} has the CPU jitter entropy of AWS-LC: it was built without "
            "AWS_LC_SYS_NO_JITTER_ENTROPY=1, which .cargo/config.toml sets."
        )
    return None


if __name__ == "__main__":
    main()
