"""The LMS of the platform's own packages: the stand-in answers as it does, and the
operators' commands work with it and report errors.

The commands run on the stack's tables, with a secret of their own, and behind a proxy
that passes another host and scheme to the LMS.
"""

import base64
import itertools
import json
import os
import signal
import subprocess
import threading
import time
import unittest
import urllib.parse

import requests

import lms
import stack

# The values of tools/local/README.md.
STAND_IN_CLIENT = "coursehook-local"
STATIC_TOKEN = "static-token-of-this-machine"

ALIKE = "course-v1:Peers+Alike+2026_T3"
NUMBERS = itertools.count(1)


class Site:
    """An LMS, and the client that calls it."""

    def __init__(self, url, client_id):
        self.url = url
        self.client = {"client_id": client_id, "client_secret": lms.CLIENT_SECRET}
        answer = self.token(token_type="jwt").json()
        self.jwt = f"JWT {answer['access_token']}"

    def token(self, **fields):
        form = {"grant_type": "client_credentials"} | self.client | fields
        return requests.post(f"{self.url}/oauth2/access_token", data=form, timeout=10)

    def get(self, target, authorization):
        headers = {"Authorization": authorization} if authorization else {}
        return requests.get(
            self.url + target, headers=headers, timeout=10, allow_redirects=False
        )


def query(**fields):
    return urllib.parse.urlencode(fields)


def cursor(text):
    return urllib.parse.quote(base64.b64encode(text.encode()))


def read(answer):
    """Returns the parts of an answer that Coursehook reads."""
    try:
        body = answer.json()
    except ValueError:
        return {"status": answer.status_code, "is_json": False}
    parts = {"status": answer.status_code}
    if answer.status_code != 200:
        message = body.get("developer_message")
        inner = message if isinstance(message, dict) else {}
        parts["error"] = body.get("error")
        parts["code"] = inner.get("error_code", body.get("error_code"))
        parts["fields"] = sorted(inner.keys() & {"username", "course_id"})
        return parts
    if "access_token" in body:
        parts |= {name: body[name] for name in ("expires_in", "token_type")}
        parts["has_token"] = bool(body["access_token"])
        return parts
    rows = body if isinstance(body, list) else body["results"]
    parts["is_list"] = isinstance(body, list)
    parts["rows"] = [
        {name: value for name, value in row.items() if name != "created"} for row in rows
    ]
    if isinstance(body, dict) and body["next"]:
        parts["next"] = sorted(urllib.parse.parse_qs(urllib.parse.urlsplit(body["next"]).query))
    return parts


class StandIn(unittest.TestCase):
    """One table of requests, which both LMSs must answer in the same way."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        names = ["ann", "ben", "cyd", "d-e_f"]
        rows = [
            {
                "username": name,
                "percent": number / 4,
                "passed": number > 2,
                "letter_grade": "A" if number > 2 else None,
                "mode": "verified" if number % 2 else "audit",
            }
            for number, name in enumerate(names, start=1)
        ]
        lms.the.set(
            courses={ALIKE: rows, "course-v1:Peers+Other+1": [{"username": "eve"}]},
            clients={lms.CLIENT_ID: {}},
            tokens={STATIC_TOKEN: 3600},
        )
        for row in rows:
            stack.the.set_grade(
                row["username"], ALIKE, row["percent"], row["passed"], row["letter_grade"] or ""
            )
            stack.the.enroll(row["username"], ALIKE, row["mode"], True)
        stack.the.set_grade("eve", "course-v1:Peers+Other+1", 0.0, False)
        cls.sites = [
            Site(lms.the.url, lms.CLIENT_ID),
            Site(stack.the.lms_url, STAND_IN_CLIENT),
        ]

    def assert_same_answer(self, ask, case):
        real, stand_in = (read(ask(site)) for site in self.sites)
        self.assertEqual(stand_in, real, case)
        return real

    def test_the_apis(self):
        grades = f"/api/grades/v1/courses/{ALIKE}/"
        enrollments = "/api/enrollment/v1/enrollments?"
        run = {"course_id": ALIKE}
        statuses = set()
        for target in (
            grades,
            f"{grades}?page_size=1",
            f"{grades}?page_size=3",
            f"{grades}?page_size=0",
            f"{grades}?username=ann",
            f"{grades}?username=ann&page_size=100",
            f"{grades}?username=",
            f"{grades}?username=eve",
            f"{grades}?username=nobody",
            f"{grades}?username=a.b%40x",
            f"{grades}?cursor=none",
            f"{grades}?cursor={cursor('x')}",
            grades.rstrip("/"),
            "/api/grades/v1/courses/not-an-id/",
            "/api/grades/v1/courses/course-v1:Peers+None+1/",
            "/api/grades/v1/courses/Peers/None/1/",
            enrollments + query(**run),
            enrollments + query(**run, page_size=1),
            enrollments + query(**run, page_size=1000),
            enrollments + query(**run, username="ann"),
            enrollments + query(**run, username="d-e_f"),
            enrollments + query(**run, username="ann,nobody,d-e_f"),
            enrollments + query(**run, username=",".join(["ann"] * 100)),
            enrollments + query(**run, username=",".join(["ann"] * 101)),
            enrollments + query(**run, username="nobody"),
            enrollments + query(**run, username="a.b@x"),
            enrollments + query(**run, username="é"),
            enrollments + query(**run, username="ann,a.b"),
            enrollments + query(**run, username=""),
            enrollments + query(**run, cursor="none"),
            enrollments + query(username="ann"),
            enrollments + query(username="a b"),
            enrollments + query(course_id="not-an-id"),
            enrollments + query(course_id="not-an-id", username="a.b"),
            enrollments + query(course_id="course-v1:Peers+None+1"),
        ):
            parts = self.assert_same_answer(lambda site: site.get(target, site.jwt), target)
            statuses.add(parts["status"])
        self.assertEqual(statuses, {200, 301, 400, 404})

    def test_the_pages_of_a_list(self):
        for start in (
            f"/api/grades/v1/courses/{ALIKE}/?page_size=2",
            "/api/enrollment/v1/enrollments?" + query(course_id=ALIKE, page_size=2),
        ):
            read_rows = []
            for site in self.sites:
                rows, target, pages = [], start, 0
                while target:
                    body = site.get(target, site.jwt).json()
                    rows += body["results"]
                    target = body["next"] and body["next"].removeprefix(site.url)
                    pages += 1
                self.assertEqual(pages, 2)
                names = [row.get("username", row.get("user")) for row in rows]
                read_rows.append(names)
            self.assertEqual(read_rows[0], read_rows[1])
            self.assertEqual(len(read_rows[0]), 4)

    def test_credentials(self):
        for target in (
            f"/api/grades/v1/courses/{ALIKE}/?username=ann",
            "/api/enrollment/v1/enrollments?" + query(course_id=ALIKE),
        ):
            codes = set()
            for authorization in (
                None,
                "JWT",
                "JWT x",
                "JWT a b",
                f"JWT {STATIC_TOKEN}",
                "Bearer",
                "Bearer x",
                "Bearer a b",
                f"Bearer {STATIC_TOKEN}",
                f"bearer {STATIC_TOKEN}",
                "Basic YTpi",
                "x",
            ):
                case = f"{authorization} {target}"
                parts = self.assert_same_answer(lambda site: site.get(target, authorization), case)
                codes.add(parts.get("code"))
            self.assertEqual(
                codes, {None, "token_not_provided", "token_nonexistent", "token_malformed"}
            )

    def test_tokens(self):
        errors = set()
        for fields in (
            {"token_type": "jwt"},
            {"token_type": "jwt", "scope": "read"},
            {"client_id": "nobody"},
            {"client_id": ""},
            {"client_secret": "another"},
            {"client_secret": ""},
            {"grant_type": "unknown"},
            {"grant_type": ""},
            {"scope": "unknown"},
        ):
            parts = self.assert_same_answer(lambda site: site.token(**fields), fields)
            errors.add(parts.get("error"))
        self.assertEqual(
            errors, {None, "invalid_client", "unsupported_grant_type", "invalid_scope"}
        )
        ways = {
            "json": lambda url: requests.post(url, json={"grant_type": "x"}, timeout=10),
            "get": lambda url: requests.get(url, timeout=10),
        }
        for way, ask in ways.items():
            self.assert_same_answer(lambda site: ask(f"{site.url}/oauth2/access_token"), way)


class Commands(unittest.TestCase):
    """The operators' commands, with the LMS behind its proxy."""

    maxDiff = None

    def setUp(self):
        self.proxy = lms.Proxy(lms.the)
        self.addCleanup(self.proxy.close)
        number = next(NUMBERS)
        self.secret = stack.the.new_secret(f"peers-lms-{number}")
        self.run_id = f"course-v1:Peers+Commands{number}+2026_T3"
        self.reset()
        self.addCleanup(self.reset)

    def reset(self, **knobs):
        lms.the.set(
            **{
                "token_seconds": 3600,
                "clock_ahead": 0,
                "refused_tokens": 0,
                "offset_cutoff": 1000,
                "token_rate": "1000/m",
                "enrollment_rates": {"staff": "1000/minute", "user": "40/minute"},
                "clients": {
                    lms.CLIENT_ID: {},
                    "plain": {"is_staff": False},
                    "code": {"authorization_grant_type": "authorization-code"},
                },
            }
            | knobs
        )

    def environment(self, **more):
        variables = stack.the.variables | {
            "LMS_URL": self.proxy.url,
            "OPENEDX_API_SECRET": self.secret,
            # High limits, except where a test is about them.
            "LMS_ENROLLMENTS_PER_MINUTE": "100000",
            "LMS_PER_SECOND": "1000",
        }
        return os.environ | variables | more

    def coursehook(self, *arguments, given=None, **more):
        """Returns exit code, and standard output and standard error, joined."""
        ran = subprocess.run(
            [str(stack.the.cli), *arguments],
            env=self.environment(**more),
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return ran.returncode, ran.stdout + ran.stderr

    def credential(self, client_id=lms.CLIENT_ID, secret=lms.CLIENT_SECRET, options=()):
        given = json.dumps({"client_id": client_id, "client_secret": secret})
        return self.coursehook("credential", "set", *options, given=given)

    def enrolled(self, learners, known=True, **run):
        """Enrolls learners in the LMS, in a run of the test's own; returns them."""
        rows = [
            {"username": f"p{self.id_of()}-{number:04}", "percent": 0.5, "passed": False}
            | (learners(number) if callable(learners) else {})
            for number in range(run.pop("count", 3))
        ]
        lms.the.set(courses={self.run_id: rows})
        stack.the.import_run(self.run_id)
        if known:
            users = "".join(
                json.dumps({"email": f"{row['username']}@example.net", "edx_username": row["username"]})
                + "\n"
                for row in rows
            )
            stack.the.coursehook("users", "import", "-", given=users)
        return rows

    def id_of(self):
        return self.secret.rpartition("-")[2]

    @staticmethod
    def swept(output):
        """Returns the last line of a sweep's output in JSON."""
        lines = [line for line in output.splitlines() if line.startswith("{")]
        (swept,) = [line for line in map(json.loads, lines) if line["message"] == "sweep ended"]
        return swept

    def sweep(self, kind, *options, **more):
        return self.coursehook("sweep", kind, "--run", self.run_id, *options, **more)


class CommandErrors(Commands):
    def test_errors_of_credential_set_and_doctor(self):
        self.assertEqual(self.credential()[0], 0)
        cases = (
            ("the host check", "host", "does not answer as its API does (400)"),
            ("the proxy's authentication", 401, "does not answer as its API does (401)"),
            ("a firewall", 403, "does not answer as its API does (403)"),
            ("a login", 200, "does not answer as its API does (200)"),
        )
        for case, way, said in cases:
            if way == "host":
                between = self.proxy.saying_host("unknown.example")
            else:
                # The token endpoint's HTML 403 is a throttle.
                part = "/api/" if way == 403 else ""
                between = self.proxy.answering(way, part)
            with between, self.subTest(case):
                if way != 403:
                    code, output = self.credential()
                    self.assertNotEqual(code, 0)
                    self.assertIn(said, output)
                    self.assertIn("LMS_URL", output)
                    self.assertNotIn("client id and secret", output)
                rows = self.enrolled({}, count=1)
                code, output = self.coursehook("doctor", f"{rows[0]['username']}@example.net", self.run_id)
                self.assertNotEqual(code, 0)
                for check in ("LMS grades", "LMS enrollments"):
                    (line,) = [line for line in output.splitlines() if check in line]
                    self.assertIn(said, line)
                    self.assertNotIn("staff", line)

    def test_credentials_that_the_token_endpoint_rejects(self):
        for credential, said in (
            (("nobody",), "does not know our client id and secret"),
            ((lms.CLIENT_ID, "another"), "does not know our client id and secret"),
            (("code",), "by client credentials (unauthorized_client)"),
        ):
            code, output = self.credential(*credential)
            self.assertNotEqual(code, 0)
            self.assertIn(said, output)
            # The credential can be stored nevertheless, and then a sweep reports the
            # error.
            stored = self.credential(*credential, options=["--unchecked"])
            self.assertEqual(stored[0], 0, stored)
            self.enrolled({}, count=1)
            code, output = self.sweep("grades")
            self.assertNotEqual(code, 0)
            self.assertIn(said, output)
        self.reset(token_rate="1/m")
        requests.post(f"{self.proxy.url}/oauth2/access_token", timeout=10)
        code, output = self.credential()
        self.assertNotEqual(code, 0)
        self.assertIn("asks for fewer requests", output)

    def test_a_sweep_waits_after_a_page_that_is_not_the_lmss(self):
        self.assertEqual(self.credential()[0], 0)
        self.enrolled({}, count=3)
        with self.proxy.answering(401, "/api/"):
            output = self.until_it_waits("enrollments")
        self.assertIn("does not answer as its API does (401). The next attempt is in", output)

    def test_a_throttle_without_a_time_pauses_for_a_minute(self):
        self.assertEqual(self.credential()[0], 0)
        self.enrolled({}, count=3)
        self.reset(enrollment_rates={"staff": "0/minute", "user": "0/minute"})
        output = self.until_it_waits("enrollments")
        self.assertIn("asks for fewer requests (429). The next attempt is in 60 s.", output)
        self.assertEqual(len(lms.the.calls("/api/enrollment/")), 1)

    def test_retry_after_is_honoured(self):
        self.assertEqual(self.credential()[0], 0)
        self.enrolled({}, count=3)
        for part in ("/api/", "/oauth2/"):
            with self.proxy.answering(503, part, Retry_After="1800"):
                output = self.until_it_waits("grades")
            self.assertIn("The next attempt is in 1800 s.", output)

    def until_it_waits(self, kind):
        """Returns the output of a sweep until it waits; then it is interrupted."""
        process = subprocess.Popen(
            [str(stack.the.cli), "sweep", kind, "--run", self.run_id],
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        timer = threading.Timer(60, process.kill)
        timer.start()
        output = ""
        for line in process.stderr:
            output += line
            if "The next attempt is in" in line:
                process.send_signal(signal.SIGINT)
        process.wait()
        process.stderr.close()
        timer.cancel()
        return output

    def test_a_username_that_the_list_rejects(self):
        self.assertEqual(self.credential()[0], 0)
        username = f"p.{self.id_of()}@x"
        self.enrolled(lambda _: {"username": username}, known=False, count=1)
        email = f"p-{self.id_of()}@example.net"
        row = {"email": email, "edx_username": username}
        stack.the.coursehook("users", "import", "-", given=json.dumps(row))
        for arguments in (["--run", self.run_id, "--learner", email], ["--learner", email]):
            code, output = self.coursehook("sweep", "enrollments", *arguments)
            self.assertNotEqual(code, 0)
            self.assertIn("400 username" if "--run" in arguments else "edX username", output)
            self.assertNotIn("no such course run", output)
        code, output = self.coursehook("doctor", email, self.run_id)
        (line,) = [line for line in output.splitlines() if "LMS enrollments" in line]
        self.assertIn("does not accept the edX username", line)
        self.assertTrue(line.startswith("OK"), line)
        # A sweep of the run lists them nevertheless.
        code, output = self.sweep("enrollments", "--dry-run")
        self.assertIn("created", output)

    def test_a_clock_that_is_ahead(self):
        self.reset(clock_ahead=0.9)
        self.assertEqual(self.credential()[0], 0)
        self.enrolled({}, count=3)
        code, output = self.sweep("grades")
        self.assertEqual(code, 0, output)
        # A token is usually rejected twice at most; here it certainly is.
        self.reset(refused_tokens=3)
        code, output = self.sweep("grades")
        self.assertEqual(code, 0, output)
        self.assertEqual(len(lms.the.calls("/oauth2/")), 2)
        self.reset(refused_tokens=100)
        code, output = self.sweep("grades")
        self.assertNotEqual(code, 0)
        self.assertIn("Put a valid credential", output)


class ManyWithOneTimestamp(Commands):
    """More enrollments with the same timestamp than a cursor can skip, which is a
    thousand."""

    def test_learners_are_requested_by_username(self):
        self.reset(offset_cutoff=200)
        self.assertEqual(self.credential()[0], 0)
        count = 350
        rows = self.enrolled(
            lambda number: {"second": 0, "is_active": number % 50 != 0}, count=count
        )
        # The portal has all of them active, so that some are to be deactivated.
        lines = "".join(
            json.dumps(
                {
                    "email": f"{row['username']}@example.net",
                    "course_id": self.run_id,
                    "mode": "verified",
                    "active": True,
                }
            )
            + "\n"
            for row in rows[:-20]
        )
        stack.the.coursehook("enrollments", "import", "-", given=lines)
        code, output = self.sweep("enrollments", "--dry-run")
        self.assertIn("its next page is the same page again", output)
        code, output = self.sweep("enrollments", "--confirm", "--yes", "--json")
        swept = self.swept(output)
        self.assertEqual((code, swept["outcome"]), (0, "done"), swept)
        self.assertEqual(swept["tally"]["deactivated"], count // 50, swept)
        asked = lms.the.calls("/api/enrollment/")
        asked = [urllib.parse.parse_qs(call["query"]).get("username") for call in asked]
        names = [len(names[0].split(",")) for names in asked if names]
        self.assertEqual(max(names), 100)

        # Grades have the same pages, and are requested one by one.
        self.enrolled(lambda _: {"second": 0, "percent": 0.7}, count=count)
        code, output = self.sweep("grades", "--json")
        swept = self.swept(output)
        self.assertEqual((code, swept["outcome"]), (0, "done"), swept)
        for row in (rows[0], rows[310], rows[count - 21]):
            grade = stack.the.grade(f"{row['username']}@example.net", self.run_id)
            self.assertEqual(grade["percent"], 0.7)


class ManyLearners(Commands):
    LEARNERS = int(os.environ.get("LEARNERS", "400"))

    def test_everything_of_many_learners(self):
        """Uses tokens of two seconds, and an LMS that is restarted meanwhile."""
        self.reset(token_seconds=2)
        code, output = self.credential()
        self.assertEqual((code, "the LMS gave it a token" in output), (0, True), output)
        rows = self.enrolled(
            lambda number: {
                "percent": number / self.LEARNERS,
                "passed": number >= self.LEARNERS - 10,
                "letter_grade": "A" if number >= self.LEARNERS - 10 else None,
            },
            count=self.LEARNERS,
        )
        first, last = (f"{row['username']}@example.net" for row in (rows[0], rows[-1]))
        code, output = self.coursehook("doctor", first, self.run_id)
        for check in ("LMS token", "LMS grades", "LMS enrollments"):
            (line,) = [line for line in output.splitlines() if check in line]
            self.assertTrue(line.startswith("OK"), line)

        # The first sweep is a dry run, while workers of the LMS restart.
        sweep = subprocess.Popen(
            [str(stack.the.cli), "sweep", "enrollments", "--run", self.run_id],
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2):
            time.sleep(0.4)
            lms.the.restart()
        _, output = sweep.communicate(timeout=120)
        self.assertEqual(sweep.returncode, 0, output)
        code, output = self.sweep("enrollments", "--json")
        swept = self.swept(output)
        self.assertEqual((code, swept["tally"]["created"]), (0, self.LEARNERS), swept)
        code, output = self.sweep("grades", "--json")
        swept = self.swept(output)
        self.assertEqual((code, swept["tally"]["grade_stored"]), (0, self.LEARNERS), swept)
        code, output = self.coursehook("certificates", "issue", last, self.run_id)
        self.assertEqual(code, 0, output)
        self.assertEqual(stack.the.certificate(last, self.run_id)["state"], "in_force")


if __name__ == "__main__":
    unittest.main()
