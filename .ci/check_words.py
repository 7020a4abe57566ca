"""Fails on each use of a retired word (retired-words.txt) in a file of this repository.

    python3 .ci/check_words.py              checks the files that git tracks
    python3 .ci/check_words.py --self-test  checks the list against its examples
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / ".ci" / "retired-words.txt"

# A match begins and ends where a word or a part of an identifier does: `Ab` and `ab` are found in
# `XAbY` and `x_ab_y`, and not in `Xab` or `xaby`. A plural is found too.
BEGIN = r"(?:(?<![A-Za-z0-9])|(?<=[a-z0-9])(?=[A-Z]))"
END = r"(?:e?s)?(?:(?<=[a-z0-9_])(?![a-z0-9])|(?<![a-z0-9_])(?![A-Za-z0-9]))"
# A space in the list is any white space in a file, `_`, `-`, or a line's end with the next comment's
# mark.
SPACE = r"(?:[ \t]+|[_-]|[ \t]*\n[ \t]*(?://[/!]?|[#>*])?[ \t]*)"


class Words:
    """The parsed list: its rules, and the texts in which they must find something or nothing."""

    def __init__(self, text):
        self.rules, self.found, self.plain = [], [], []
        for number, line in enumerate(text.splitlines(), 1):
            parts = re.split(r"\t+| {2,}", line.strip(), maxsplit=1)
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("+ "):
                self.found.append(line[2:].replace("\\n", "\n"))
            elif line.startswith("- "):
                self.plain.append(line[2:].replace("\\n", "\n"))
            elif len(parts) == 2:
                retired = parts[0].replace(" ", SPACE)
                self.rules.append((re.compile(f"{BEGIN}(?:{retired}){END}"), parts[1]))
            else:
                raise SystemExit(f"{LIST.name}:{number}: no words to use")

    def uses(self, name, text):
        """A message for each use of a retired word in a file, or in its name."""
        for expression, use in self.rules:
            for found in expression.finditer(name):
                yield f"{name}: the file name has {found.group()!r}; use: {use}"
            for found in expression.finditer(text):
                line = text.count("\n", 0, found.start()) + 1
                yield f"{name}:{line}: {found.group()!r} is retired; use: {use}"


def self_test(words):
    """Each rule finds one of the examples; each example is found, as text and as a file's name."""
    for expression, use in words.rules:
        assert any(map(expression.search, words.found)), f"no example for: {use}"
    for text in words.found:
        assert list(words.uses("a.rs", text)), text
        assert list(words.uses(f"{text}.rs", "")), text
    for text in words.plain:
        assert not list(words.uses("a.rs", text)), text
    names = [name for name, _ in tracked()]
    assert len(names) > 300 and {"README.md", "shared/web/src/lib.rs"} < set(names)


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
    words = Words(LIST.read_text(encoding="utf-8"))
    if arguments == ["--self-test"]:
        self_test(words)
        return 0
    found = [message for name, text in tracked() for message in words.uses(name, text)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
