"""The events plugin's deliveries, and their effects in Coursehook."""

import concurrent.futures
import datetime
import itertools
import json
import time
import unittest

import plugin
import stack
from relay import Relay
from stack import RUN

NUMBERS = itertools.count(1)


def minutes_until(moment):
    moment = datetime.datetime.fromisoformat(moment)
    return (moment - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 60


class PluginTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.stack = stack.the
        self.relay = Relay(self.stack.url)
        self.addCleanup(self.relay.close)
        self.addCleanup(self.stack.revoke_faults)
        plugin.deliver_to(self.relay.url, self.stack.token)

    def learner(self, passed=True, known=True):
        """Creates a new learner, with a grade in the LMS."""
        username = f"learner{next(NUMBERS)}"
        email = f"{username}@example.net"
        percent, letter = (0.91, "A") if passed else (0.32, "F")
        self.stack.set_grade(username, RUN, percent, passed, letter)
        if known:
            self.stack.import_user(email, username)
        self.addCleanup(self.assert_not_in_logs, email)
        return email

    def enrolled(self, passed=True, mode="verified"):
        email = self.learner(passed)
        plugin.enrollment_created(email, RUN, mode)
        self.assertEqual(self.statuses(), [201])
        return email

    def statuses(self):
        """Returns the statuses of the attempts since the last call."""
        statuses = self.relay.statuses
        self.relay.attempts, self.last = [], self.relay.attempts
        return statuses

    def said(self):
        """Returns the answer to the last of these attempts."""
        return self.last[-1].said

    def retry_until(self, is_so):
        end = time.monotonic() + 30
        while not is_so():
            self.assertLess(time.monotonic(), end, "it never came about")
            self.stack.retry_due()

    def assert_not_in_logs(self, email):
        logs = self.stack.logs()
        self.assertNotIn(email, logs)
        self.assertNotIn(self.stack.token, logs)


class WhatIsSent(PluginTest):
    def test_the_samples_are_what_the_plugin_sends(self):
        ada = "ada@example.org"
        plugin.role_added(ada, RUN, "instructor")
        plugin.enrollment_created(ada, RUN, "verified")
        plugin.passed(ada, RUN)
        sent = self.relay.attempts
        samples = ("enrollment/role-added", "enrollment/enrollment-created", "certificate/passed")
        self.assertEqual(len(sent), len(samples))
        for attempt, sample in zip(sent, samples):
            kind, name = sample.split("/")
            events = stack.REPOSITORY / "events"
            body = (events / f"{sample}.json").read_bytes().rstrip(b"\n")
            self.assertEqual(attempt.body, body)
            self.assertEqual(attempt.path, f"/api/openedx_webhook/{kind}/")
            event = json.loads((events / f"gateway/rest-{name}.json").read_text())
            self.assertEqual(attempt.path, event["path"])
            self.assertEqual(attempt.body, event["body"].encode())
            # The gateway adds headers of its own; the requests may differ in those that
            # identify them.
            own = {
                name: value
                for name, value in event["headers"].items()
                if not name.startswith("X-") and name not in ("Host", "User-Agent")
            }
            own["Authorization"] = f"Bearer {self.stack.token}"
            self.assertLessEqual(own.items(), dict(attempt.headers).items())


class WithoutErrors(PluginTest):
    def test_an_enrollment_a_role_and_a_pass_take_effect(self):
        email = self.learner()
        plugin.enroll(email, RUN, "verified")
        plugin.give_role(email, RUN, "instructor")
        self.assertEqual(plugin.passed(email, RUN).state, "SUCCESS")
        self.assertEqual(self.statuses(), [201, 200, 200])
        said = self.said()

        (enrollment,) = self.stack.enrollments(email)
        self.assertEqual(enrollment["course_id"], RUN)
        self.assertEqual(enrollment["mode"], "verified")
        self.assertEqual(enrollment["roles"], ["instructor"])
        self.assertTrue(enrollment["active"] and enrollment["edx_enrolled"])
        self.assertEqual(said["certificate_status"], "created")
        certificate = self.stack.certificate(email)
        self.assertEqual(certificate["certificate_id"], said["certificate_id"])
        self.assertEqual(self.stack.grade(email)["percent"], 0.91)
        self.assertEqual(self.stack.pending(email), {})

    def test_each_receiver_of_an_event_is_registered(self):
        self.assertEqual(
            sorted(plugin.RECEIVED),
            ["COURSE_ACCESS_ROLE_ADDED", "COURSE_ENROLLMENT_CREATED", "ROLE_ASSIGNMENT_CREATED"],
        )

    def test_a_role_that_only_the_authorization_framework_announces(self):
        email = self.learner()
        plugin.assign_role(email, RUN, "course_admin")
        self.assertEqual(self.statuses(), [201])
        plugin.assign_role(email, RUN, "course_staff")
        # A grant that both announce arrives twice.
        plugin.give_role(email, RUN, "staff")
        self.assertEqual(self.statuses(), [200, 200])
        (enrollment,) = self.stack.enrollments(email)
        self.assertEqual(sorted(enrollment["roles"]), ["instructor", "staff"])
        # A role that is no course role is not announced.
        plugin.assign_role(email, RUN, "course_auditor")
        self.assertEqual(self.statuses(), [])

    def test_a_repeated_event_changes_nothing(self):
        email = self.enrolled()
        plugin.role_added(email, RUN, "staff")
        plugin.passed(email, RUN)
        first = self.stack.enrollments(email), self.stack.certificate(email)
        self.statuses()

        # Since 0.6 one grant may be announced twice; each new grade announces the pass
        # again.
        for _ in range(2):
            plugin.role_added(email, RUN, "staff")
            plugin.enrollment_created(email, RUN, "verified")
            self.assertEqual(plugin.passed(email, RUN).state, "SUCCESS")
        self.assertEqual(self.statuses(), [200] * 6)
        self.assertEqual(self.said()["certificate_status"], "exists")
        again = self.stack.enrollments(email), self.stack.certificate(email)
        self.assertEqual(again, first)

    def test_many_workers_at_once_make_one_of_each(self):
        email = self.learner()
        with concurrent.futures.ThreadPoolExecutor(8) as workers:
            for task in (
                lambda: plugin.enrollment_created(email, RUN, "verified"),
                lambda: plugin.passed(email, RUN),
            ):
                done = [workers.submit(task) for _ in range(8)]
                self.assertEqual({one.result().state for one in done}, {"SUCCESS"})
        self.assertEqual(sorted(self.statuses()), [200] * 15 + [201])
        said = [attempt.said for attempt in self.last[8:]]
        self.assertEqual(len({one["certificate_id"] for one in said}), 1, said)
        (enrollment,) = self.stack.enrollments(email)
        self.assertEqual(len(enrollment["history"]), 1)
        self.assertEqual(len(self.stack.certificate(email)["history"]), 1)

    def test_a_new_token_and_the_old_one_work_side_by_side(self):
        email = self.learner()
        issued = self.stack.coursehook("tokens", "issue", "new", "--staff")
        plugin.deliver_to(self.relay.url, issued["token"])
        plugin.enrollment_created(email, RUN, "audit")
        plugin.deliver_to(self.relay.url, self.stack.token)
        plugin.role_added(email, RUN, "staff")
        self.assertEqual(self.statuses(), [201, 200])


class WhenCoursehookCannotYet(PluginTest):
    def test_a_role_in_a_run_that_the_portal_does_not_know_yet(self):
        """Studio announces the role of a run's creator at once."""
        email = self.learner()
        run = "course-v1:Demo+MadeJustNow+2027_T1"
        plugin.give_role(email, run, "instructor")
        # The plugin makes one attempt and drops the event for good.
        self.assertEqual(self.statuses(), [404])
        self.assertEqual(self.said(), {"error": f"Course run with id {run} not found"})
        self.assertEqual(self.stack.pending(email)["enrollment"]["reason"], "no_such_run")

        self.stack.import_run(run)
        self.retry_until(lambda: not self.stack.pending(email))
        (enrollment,) = self.stack.enrollments(email)
        self.assertEqual(enrollment["course_id"], run)
        self.assertEqual(enrollment["roles"], ["instructor"])
        self.assertEqual(self.statuses(), [])

    def test_a_learner_whom_the_portal_does_not_know_yet(self):
        email = self.learner(known=False)
        for task in (
            plugin.role_added(email, RUN, "staff"),
            plugin.enrollment_created(email, RUN, "verified"),
        ):
            self.assertEqual(task.state, "SUCCESS")
        self.assertEqual(self.statuses(), [404, 404])
        self.assertEqual(self.said(), {"error": "User not found"})
        # Only this task treats any 4xx as a failure and retries.
        self.assertEqual(plugin.passed(email, RUN).state, "FAILURE")
        self.assertEqual(self.statuses(), [404, 404, 404])

        pending = self.stack.pending(email)
        self.assertEqual(sorted(pending), ["certificate", "enrollment"])
        self.assertEqual({event["reason"] for event in pending.values()}, {"no_such_user"})
        self.assertEqual(pending["enrollment"]["roles"], ["staff"])
        self.assertEqual(pending["enrollment"]["mode"], "verified")

        self.stack.import_user(email, email.split("@")[0])
        self.retry_until(lambda: "enrollment" not in self.stack.pending(email))
        (enrollment,) = self.stack.enrollments(email)
        self.assertEqual(enrollment["roles"], ["staff"])
        self.assertEqual(enrollment["mode"], "verified")
        # Both are retried together. The pass may find no enrollment yet, and is then
        # retried in a minute, or when it is announced again.
        self.retry_until(
            lambda: self.stack.pending(email).get("certificate", {}).get("reason")
            in (None, "not_eligible")
        )
        for event in self.stack.pending(email).values():
            self.assertLess(minutes_until(event["next_attempt_at"]), 1.5)
        plugin.passed(email, RUN)
        self.assertEqual(self.statuses(), [200])
        self.assertEqual(self.stack.pending(email), {})
        self.assertEqual(self.stack.certificate(email)["state"], "in_force")

    def test_a_pass_that_is_announced_before_the_enrollment(self):
        email = self.learner()
        plugin.passed(email, RUN)
        self.assertEqual(self.statuses(), [200])
        self.assertEqual(self.said()["certificate_status"], "not_eligible")
        self.assertEqual(self.stack.pending(email)["certificate"]["reason"], "not_eligible")

        plugin.enroll(email, RUN, "verified")
        self.retry_until(lambda: not self.stack.pending(email))
        self.assertEqual(self.stack.certificate(email)["state"], "in_force")

    def test_a_pass_that_the_lms_has_not_committed_yet(self):
        email = self.enrolled()
        self.stack.add_fault(do="lag")
        self.assertEqual(plugin.passed(email, RUN).state, "SUCCESS")
        self.assertEqual(self.statuses(), [200])
        self.assertEqual(self.said()["certificate_status"], "not_passed")
        self.assertEqual(self.stack.pending(email)["certificate"]["reason"], "not_passed")
        self.assertIsNone(self.stack.certificate(email))

        self.stack.revoke_faults()
        plugin.passed(email, RUN)
        self.assertEqual(self.statuses(), [200])
        self.assertEqual(self.said()["certificate_status"], "created")
        self.assertEqual(self.stack.pending(email), {})


class WhenTheLmsFails(PluginTest):
    def assert_pending_until_the_lms_works(self, email, reason):
        # The LMS need not repeat an event that could not take effect while the LMS was
        # unavailable.
        self.assertEqual(self.statuses(), [202])
        said = self.said()
        self.assertEqual(said, {"certificate_status": "pending", "reason": reason})
        pending = self.stack.pending(email)["certificate"]
        self.assertEqual(pending["reason"], "lms_unavailable")
        self.assertIsNone(self.stack.certificate(email))

        self.stack.revoke_faults()
        # The event is due in a minute: until then a retry leaves it as it is.
        self.stack.retry_due()
        self.assertEqual(self.stack.pending(email)["certificate"]["attempts"], 0)
        # An operator need not wait for that: one attempt issues the certificate.
        self.stack.coursehook("events", "retry", pending["event_key"])
        self.stack.retry_due()
        self.assertEqual(self.stack.pending(email), {})
        self.assertEqual(len(self.stack.certificate(email)["history"]), 1)
        self.assertEqual(plugin.passed(email, RUN).state, "SUCCESS")
        self.assertEqual(self.statuses(), [200])
        self.assertEqual(self.said()["certificate_status"], "exists")

    def test_an_lms_that_answers_500(self):
        email = self.enrolled()
        self.stack.add_fault(do="fail")
        self.assertEqual(plugin.passed(email, RUN).state, "SUCCESS")
        self.assert_pending_until_the_lms_works(email, "lms_failed")

    def test_an_lms_that_never_answers(self):
        """The plugin waits 30 seconds, so Coursehook must answer sooner."""
        email = self.enrolled()
        self.stack.add_fault(do="hang")
        self.assertEqual(plugin.passed(email, RUN).state, "SUCCESS")
        self.assert_pending_until_the_lms_works(email, "lms_timeout")


class WhenDeliveryFails(PluginTest):
    def test_an_outage_that_is_shorter_than_the_attempts(self):
        email = self.learner()
        before = self.stack.received()
        self.relay.refuse(2)
        self.assertEqual(plugin.enrollment_created(email, RUN, "verified").state, "SUCCESS")
        self.assertEqual(self.statuses(), [503, 503, 201])
        self.relay.refuse(2)
        self.assertEqual(plugin.role_added(email, RUN, "staff").state, "SUCCESS")
        self.assertEqual(self.statuses(), [503, 503, 200])
        self.relay.refuse(2)
        self.assertEqual(plugin.passed(email, RUN).state, "SUCCESS")
        self.assertEqual(self.statuses(), [503, 503, 200])
        self.assertEqual(self.said()["certificate_status"], "created")

        self.assertEqual(self.stack.received() - before, 3)
        (enrollment,) = self.stack.enrollments(email)
        self.assertEqual(len(enrollment["history"]), 2)
        self.assertEqual(len(self.stack.certificate(email)["history"]), 1)

    def test_an_answer_that_is_lost(self):
        """The attempt took effect, which the plugin cannot know."""
        email = self.learner()
        self.relay.lose_answers(2)
        self.assertEqual(plugin.enrollment_created(email, RUN, "verified").state, "SUCCESS")
        self.assertEqual(self.statuses(), ["lost", "lost", 200])
        self.relay.lose_answers(2)
        self.assertEqual(plugin.passed(email, RUN).state, "SUCCESS")
        self.assertEqual(self.statuses(), ["lost", "lost", 200])
        self.assertEqual(self.said()["certificate_status"], "exists")
        (enrollment,) = self.stack.enrollments(email)
        self.assertEqual(len(enrollment["history"]), 1)
        self.assertEqual(len(self.stack.certificate(email)["history"]), 1)

    def test_a_list_of_tokens_that_cannot_be_read(self):
        """Coursehook answers 503: the plugin retries, and does not drop the event."""
        email = self.learner()
        issued = self.stack.coursehook("tokens", "issue", "later", "--staff")
        listed = self.stack.secret("WEBHOOK_TOKENS_SECRET")
        self.stack.put_secret("WEBHOOK_TOKENS_SECRET", "no list")
        try:
            plugin.deliver_to(self.relay.url, issued["token"])
            self.assertEqual(plugin.role_added(email, RUN, "staff").state, "FAILURE")
            self.assertEqual(self.statuses(), [503, 503, 503])
            self.assertIn("retry-after", self.last[-1].answer_headers)
        finally:
            self.stack.put_secret("WEBHOOK_TOKENS_SECRET", listed)
            # Each function instance that failed to read the list reads it again after
            # two seconds.
            time.sleep(2.1)
        # The plugin's backfill command sends the event again.
        self.assertEqual(plugin.role_added(email, RUN, "staff").state, "SUCCESS")
        self.assertEqual(self.statuses(), [201])

    def test_an_unknown_or_malformed_token(self):
        """No event is pending; the plugin's own log names the lost events."""
        email = self.learner()
        unknown, malformed = "chk_" + "0" * 64, "no-token-of-ours"
        plugin.deliver_to(self.relay.url, unknown)
        plugin.role_added(email, RUN, "staff")
        self.assertEqual(self.statuses(), [401])
        plugin.deliver_to(self.relay.url, malformed)
        plugin.enrollment_created(email, RUN, "verified")
        self.assertEqual(self.statuses(), [401])
        self.assertEqual(plugin.passed(email, RUN).state, "FAILURE")
        self.assertEqual(self.statuses(), [401, 401, 401])
        self.assertEqual(self.stack.enrollments(email), [])
        self.assertEqual(self.stack.pending(email), {})
        self.assertNotIn(unknown, self.stack.logs())
        self.assertNotIn(malformed, self.stack.logs())
