"""Fails on each use of a retired word (retired-words.txt) in a file of this repository.

    python3 .ci/check_words.py              checks the files that git tracks
    python3 .ci/check_words.py --self-test  checks that each line of the list finds its own words
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / ".ci" / "retired-words.txt"


def rules(text):
    """The rules of a list: (expression, words to use, the retired words as written)."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = re.split(r"\t+| {2,}", line.strip(), maxsplit=1)
        if len(parts) != 2:
            raise SystemExit(f"{LIST.name}:{number}: no words to use")
        retired, use = parts
        yield re.compile(rf"(?<!\w)(?:{retired})(?!\w)"), use, retired


def uses(rules, name, text):
    """A message for each use of a retired word in a file, or in its name."""
    for expression, use, _ in rules:
        for found in expression.finditer(name):
            yield f"{name}: the file name has {found.group()!r}; use: {use}"
    for number, line in enumerate(text.splitlines(), 1):
        for expression, use, _ in rules:
            for found in expression.finditer(line):
                yield f"{name}:{number}: {found.group()!r} is retired; use: {use}"


def examples(retired):
    """Words that an expression must find: its alternatives, without what is optional."""
    for alternative in re.split(r"\|(?![^(\[]*[)\]])", retired):
        plain = re.sub(r"\(\?:[^)]*\)\??", "", alternative)
        plain = re.sub(r"\\w[*+]", "x", plain)
        plain = re.sub(r"\[(.)[^\]]*\]", r"\1", plain)
        yield re.sub(r".\?", "", plain)


def self_test(rules):
    """Each expression finds its own words, and none that is part of a longer identifier."""
    for rule in rules:
        for example in examples(rule[2]):
            assert list(uses([rule], "a.rs", f"let {example} = 1;")), (rule[2], example)
            assert list(uses([rule], f"src/{example}.rs", "")), (rule[2], example)
            assert not list(uses([rule], "a.rs", f"x{example}")), (rule[2], example)
    assert not list(uses(rules, "a.md", "Plain words: told, edge, place, look, kept, word, turn."))


def tracked():
    """The files that git tracks, without the list itself and without what is not text."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if path == LIST or not path.is_file():
            continue
        try:
            yield name, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def main(arguments):
    """Prints each use; returns 1 if there is any."""
    known = list(rules(LIST.read_text(encoding="utf-8")))
    if arguments == ["--self-test"]:
        self_test(known)
        return 0
    found = [message for name, text in tracked() for message in uses(known, name, text)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
