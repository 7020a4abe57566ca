"""Counts which mutants the storm kills, and which the other tests kill.

It draws mutants from cargo-mutants' list for the domain, the use cases and the store, changes a
clone of this repository by each of them, and runs the storm and the tests on it. It takes hours.

    cargo install cargo-mutants
    python3 tools/storm/mutants.py --work /tmp/mutants

The results are in WORK/results.json, one object for each mutant; a run that was interrupted goes on
where it was.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import subprocess
import sys

PACKAGES = ["coursehook-domain", "coursehook-app", "coursehook-store"]
# Where most tests fail that fail at all, first.
TESTED = [
    PACKAGES,
    ["enrollment-webhook", "certificate-webhook", "pending-events", "sweeps"],
    ["coursehook-cli"],
]
# A mutant may make a program wait for ever.
STORM_TIME = 900
TEST_TIME = 1200


def run(command, folder, time=None, **variables):
    """Runs a command, and returns its status, or None if its time was over, and its output."""
    environment = {**os.environ, **variables}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, timeout=time, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout


def drawn(repository, number, seed):
    """Returns all mutants in an order that follows from the seed."""
    packages = [word for package in PACKAGES for word in ("-p", package)]
    command = ["cargo", "mutants", "--list", "--json", "--diff", *packages]
    done = subprocess.run(command, cwd=repository, check=True, text=True, stdout=subprocess.PIPE)
    mutants = json.loads(done.stdout)
    mutants.sort(key=lambda mutant: mutant["name"])
    print(f"{len(mutants)} mutants, of which {number} are drawn with seed {seed}", flush=True)
    random.Random(seed).shuffle(mutants)
    return mutants


def build_storm(clone):
    """Builds the storm. Returns the compiler's output if the mutant does not build."""
    build = ["cargo", "build", "--quiet", "--profile", "storm", "-p", "coursehook-storm"]
    status, output = run(build, clone)
    return output[-2000:] if status != 0 else None


def by_storm(clone, steps):
    """Returns how the storm ends on the mutant."""
    target = os.environ.get("CARGO_TARGET_DIR", str(clone / "target"))
    program = f"{target}/storm/storm"
    command = [program, "--seed", "1", "--steps", str(steps), "--no-shrink"]
    status, output = run(command, clone, STORM_TIME)
    if status == 0:
        return "survives", ""
    return "killed", output[:2000] if status is not None else "the time is over"


def by_tests(clone):
    """Returns how the tests end on the mutant."""
    for packages in TESTED:
        words = [word for package in packages for word in ("-p", package)]
        status, output = run(["cargo", "test", "--quiet", *words], clone, TEST_TIME)
        if status != 0:
            failed = [line for line in output.splitlines() if "FAILED" in line or "panicked" in line]
            return "killed", "\n".join(failed[:10]) or output[-2000:]
    return "survives", ""


def result_of(clone, steps):
    """Returns how the storm and the tests end on the mutant. The storm has one thread, so both run
    at once."""
    not_built = build_storm(clone)
    if not_built:
        return {"storm": "does not build", "storm_said": not_built}
    with concurrent.futures.ThreadPoolExecutor() as threads:
        storm = threads.submit(by_storm, clone, steps)
        tests = threads.submit(by_tests, clone)
        result = {}
        result["storm"], result["storm_said"] = storm.result()
        result["tests"], result["tests_said"] = tests.result()
        return result


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--work", type=pathlib.Path, required=True)
    arguments.add_argument("--number", type=int, default=40)
    arguments.add_argument("--seed", type=int, default=2026)
    arguments.add_argument("--steps", type=int, default=100_000)
    arguments = arguments.parse_args()
    repository = pathlib.Path(__file__).parents[2]
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    clone = work / "clone"
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)
    # The tests' stand-ins are installed once.
    tools = repository / ".local"
    if tools.exists() and not (clone / ".local").exists():
        (clone / ".local").symlink_to(tools)
    path = work / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    # Otherwise each mutant would count as killed.
    if "unchanged" not in results:
        not_built = build_storm(clone)
        ended, said = ("does not build", not_built) if not_built else by_storm(clone, arguments.steps)
        if ended != "survives":
            sys.exit(f"the unchanged code {ended}: {said}")
        results["unchanged"] = {"storm": ended}
    built = 0
    for mutant in drawn(repository, arguments.number, arguments.seed):
        if built == arguments.number:
            break
        name = mutant["name"]
        if name not in results:
            subprocess.run(["git", "checkout", "--quiet", "."], cwd=clone, check=True)
            # The header's second line has the mutant's name.
            lines = mutant["diff"].splitlines(keepends=True)
            file = mutant["file"]
            diff = "".join([f"--- a/{file}\n", f"+++ b/{file}\n", *lines[2:]])
            subprocess.run(["git", "apply", "-"], cwd=clone, check=True, text=True, input=diff)
            results[name] = result_of(clone, arguments.steps)
            path.write_text(json.dumps(results, indent=1))
        result = results[name]
        built += result["storm"] != "does not build"
        print(built, name, result["storm"], result.get("tests"), flush=True)
    subprocess.run(["git", "checkout", "--quiet", "."], cwd=clone, check=True)


if __name__ == "__main__":
    sys.exit(main())
