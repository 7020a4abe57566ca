"""Compares course ids with edx-opaque-keys, with which the LMS parses them."""

import json
import random
import subprocess
import sys
import unicodedata
import unittest

from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey
from opaque_keys.edx.locator import CourseLocator

import stack

# The parts of ids, and parts that resemble them.
PIECES = [
    *("course-v1:", "course-v2:", "ccx-v1:", "branch@", "version@", "ccx@", "None"),
    *("+", "+", "+", "/", "/", "/", ":", "%", "~", ".", "-", "_", "@", "?", " ", "a", "1"),
]


def characters():
    """Yields every character that this Python knows, but only some of private use:
    another version of Unicode can only assign more."""
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        category = unicodedata.category(character)
        # A surrogate is no character, and Rust strings have none.
        if category in ("Cn", "Cs") or (category == "Co" and number % 1000):
            continue
        yield character


def ids():
    known = list(characters())
    for number, character in enumerate(known):
        yield f"course-v1:a{character}+b+c" if number % 8 else f"a/{character}b/c"
    # The same ids in each run.
    chance = random.Random(20260901)
    for _ in range(20_000):
        pieces = chance.choices(PIECES, k=chance.randint(1, 9)) + chance.choices(known, k=2)
        chance.shuffle(pieces)
        start = chance.choice(["course-v1:", "course-v1:a+b+", "a/b/", ""])
        yield start + "".join(pieces)


def is_course_run(text):
    """True if the LMS accepts the text as the id of a whole course run."""
    try:
        key = CourseKey.from_string(text)
    except InvalidKeyError:
        return False
    # It also accepts `Org/Course/`, with an empty run; no LMS creates such a run.
    is_whole = type(key) is CourseLocator and bool(key.run)
    return is_whole and key.branch is None and key.version_guid is None


class CourseIds(unittest.TestCase):
    def test_the_same_texts_are_ids(self):
        texts = list(ids())
        self.assertGreater(len(texts), 100_000)
        program = stack.the.cli.parent / "examples" / "course_ids"
        ran = subprocess.run(
            [str(program)],
            input="".join(json.dumps(text) + "\n" for text in texts),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        answers = [json.loads(line) for line in ran.stdout.splitlines()]
        self.assertEqual(len(answers), len(texts))
        theirs = [is_course_run(text) for text in texts]
        # Both answers occur often enough.
        self.assertGreater(min(theirs.count(True), theirs.count(False)), 10_000)
        differ = [text for text, ours, own in zip(texts, answers, theirs) if ours != own]
        self.assertEqual(differ[:20], [], f"{len(differ)} of {len(texts)} differ")
