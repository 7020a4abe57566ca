"""An independent client reads the same grades from the LMS stand-in as Coursehook.

Both read the same only if the stand-in answers as an LMS does, and Coursehook
understands the answers as others do.
"""

import csv
import unittest

from edx_api.client import EdxApi
from requests import HTTPError

import plugin
import stack
from stack import RUN

# The value that the stand-in accepts as a site's service token (tools/local/README.md).
SERVICE_TOKEN = "static-token-of-this-machine"


def row_fields(row):
    """Returns the client's view of a row of the LMS."""
    return {
        "username": row.username,
        "course_id": row.course_id,
        "percent": row.percent,
        "passed": row.passed,
        "letter_grade": row.letter_grade,
    }


class GradesClientTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.stack = stack.the
        api = EdxApi({"access_token": SERVICE_TOKEN}, self.stack.lms_url, timeout=10)
        self.grades = api.current_grades
        plugin.deliver_to(self.stack.url, self.stack.token)

    def lines(self):
        with open(self.stack.grades_file, newline="") as file:
            for line in csv.DictReader(file):
                yield {
                    "username": line["username"],
                    "course_id": line["course_id"],
                    "percent": float(line["percent"]),
                    "passed": line["passed"] == "true",
                    "letter_grade": line["letter_grade"] or None,
                }

    def stored(self, email, course_id):
        grade = self.stack.grade(email, course_id)
        return {
            "percent": grade["percent"],
            "passed": grade["passed"],
            "letter_grade": grade.get("letter_grade"),
        }

    def test_each_learner_of_the_file(self):
        lines = list(self.lines())
        self.assertGreater(len(lines), 5)
        for line in lines:
            row = self.grades.get_student_current_grade(line["username"], line["course_id"])
            self.assertEqual(row_fields(row), line)

    def test_each_run_of_the_file(self):
        lines = list(self.lines())
        runs = {line["course_id"] for line in lines}
        self.assertGreater(len(runs), 1)
        for run in runs:
            listed = self.grades.get_course_current_grades(run).current_grades
            expected = {
                line["username"]: line for line in lines if line["course_id"] == run
            }
            rows = {username: row_fields(row) for username, row in listed.items()}
            self.assertEqual(rows, expected)

    def test_a_run_of_many_pages(self):
        run = "course-v1:Demo+ManyLearners+2026_T3"
        for n in range(120):
            self.stack.set_grade(f"many{n:03}", run, n / 100, n >= 60, "P" if n >= 60 else "")
        before = len(self.stack.lms_calls())
        listed = self.grades.get_course_current_grades(run)
        pages = self.stack.lms_calls()[before:]
        self.assertEqual(sum(run in call["path"] for call in pages), 3)
        self.assertEqual(listed.course_id, run)
        expected = {
            line["username"]: line for line in self.lines() if line["course_id"] == run
        }
        self.assertEqual(len(expected), 120)
        rows = {row.username: row_fields(row) for row in listed.all_current_grades}
        self.assertEqual(rows, expected)

    def test_coursehook_stores_what_the_client_reads(self):
        samples = stack.REPOSITORY / "tools/local/samples"
        with open(samples / "users.csv", newline="") as file:
            emails = {user["edx_username"]: user["email"] for user in csv.DictReader(file)}
        with open(samples / "grades.csv", newline="") as file:
            graded = [(line["username"], line["course_id"]) for line in csv.DictReader(file)]
        self.assertGreater(len(graded), 5)
        for username, run in graded:
            email = emails[username]
            self.assertEqual(plugin.passed(email, run).state, "SUCCESS")
            read = row_fields(self.grades.get_student_current_grade(username, run))
            stored = self.stored(email, run)
            self.assertEqual({"username": username, "course_id": run, **stored}, read)

    def test_a_grade_that_changes(self):
        email = "regraded@example.net"
        self.stack.import_user(email, "regraded")
        for percent, passed, letter in ((0.2, False, ""), (0.65, True, "Pass"), (1.2, True, "A")):
            self.stack.set_grade("regraded", RUN, percent, passed, letter)
            self.assertEqual(plugin.passed(email, RUN).state, "SUCCESS")
            read = row_fields(self.grades.get_student_current_grade("regraded", RUN))
            self.assertEqual(read["percent"], percent)
            self.assertLessEqual(self.stored(email, RUN).items(), read.items())

    def test_a_missing_grade(self):
        """A case that the client reports as an error makes Coursehook wait."""
        elsewhere = "course-v1:Demo+DistributedSystems+2026_T3"
        nowhere = "course-v1:Demo+LinearAlgebra+TBA"
        self.stack.import_user("stranger@example.net", "stranger")
        for username, email, run, code in (
            ("jiwon", "ji-won@example.org", RUN, "user_not_enrolled"),
            ("stranger", "stranger@example.net", elsewhere, "user_does_not_exist"),
            ("kalidasa", "kalidasa@example.com", nowhere, "course_does_not_exist"),
        ):
            with self.assertRaises(HTTPError) as raised:
                self.grades.get_student_current_grade(username, run)
            answer = raised.exception.response
            self.assertEqual(answer.status_code, 404)
            self.assertEqual(answer.json()["error_code"], code)
            # One such run does not affect the other runs of a learner.
            self.assertEqual(
                self.grades.get_student_current_grades(username, [run]).all_course_ids, set()
            )
            self.assertEqual(plugin.passed(email, run).state, "SUCCESS")
            event = next(
                event
                for event in self.stack.coursehook("events", "list")
                if (event["email"], event["course_id"]) == (email, run)
            )
            self.assertEqual((event["kind"], event["reason"]), ("certificate", "lms_unavailable"))
            self.assertIsNone(self.stack.grade(email, run))

    def test_an_invalid_credential(self):
        api = EdxApi({"access_token": "another"}, self.stack.lms_url, timeout=10)
        with self.assertRaises(HTTPError) as raised:
            api.current_grades.get_student_current_grade("ada", RUN)
        self.assertEqual(raised.exception.response.status_code, 401)
