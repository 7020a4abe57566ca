#!/usr/bin/env python3
"""Fails if a program contains AWS-LC's CPU jitter entropy, which `.cargo/config.toml` leaves out
of every build. With it the start of a function takes about six times the CPU time.

    infra/check-entropy.py PROGRAM...

The programs have no symbols. They are recognized by a table of the jitter library's health tests,
which is read from the sources that are built.
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
    """Returns the jitter library's source, of the version of aws-lc-sys in Cargo.lock."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    # Without a filter it would download packages of other platforms, which are not built here.
    command += ["--filter-platform", "x86_64-unknown-linux-gnu"]
    packages = json.loads(subprocess.check_output(command))["packages"]
    [manifest] = [p["manifest_path"] for p in packages if p["name"] == "aws-lc-sys"]
    return pathlib.Path(manifest).parent / SOURCE


def jitter_table(text):
    """Returns the table as a program contains it: little endian, four bytes a number."""
    found = TABLE.search(text)
    if not found:
        sys.exit(f"{SOURCE} has no such table any more: find another sign of the jitter library.")
    numbers = [int(number) for number in found[1].split(",")]
    return struct.pack(f"<{len(numbers)}I", *numbers)


def problem(name, program, table):
    """Returns the error of a program, or None."""
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
