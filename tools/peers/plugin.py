"""The LMS's side: the events plugin as an LMS has it, with its own settings,
receivers and tasks. Tasks run where they are called, retries too, and without
the waits between them: of those only their number counts."""

import datetime

from celery import Celery
from django.conf import settings

settings.configure(
    # The plugin sends an enrollment when its transaction is through.
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)

lms = Celery("lms", broker="memory://")
lms.conf.task_always_eager = True
lms.set_default()

from ol_openedx_events_handler import tasks
from ol_openedx_events_handler.handlers.course_access_role import (
    handle_course_access_role_added,
)
from ol_openedx_events_handler.handlers.enrollment import (
    handle_course_enrollment_created,
)
from ol_openedx_events_handler.settings import common, production
from opaque_keys.edx.keys import CourseKey
from openedx_events.learning import data, signals

common.plugin_settings(settings)
signals.COURSE_ACCESS_ROLE_ADDED.connect(handle_course_access_role_added)
signals.COURSE_ENROLLMENT_CREATED.connect(handle_course_enrollment_created)

role_added = tasks.notify_course_access_role_addition.delay
enrollment_created = tasks.notify_course_enrollment_created.delay
passed = tasks.create_certificate_for_passing_grade.delay


def deliver_to(url, token):
    """Sets the plugin up as an LMS's operator does."""
    settings.ENV_TOKENS = {
        "ENROLLMENT_WEBHOOK_URL": f"{url}/api/openedx_webhook/enrollment/",
        "ENROLLMENT_WEBHOOK_ACCESS_TOKEN": token,
        "CERTIFICATE_WEBHOOK_URL": f"{url}/api/openedx_webhook/certificate/",
        "CERTIFICATE_WEBHOOK_ACCESS_TOKEN": token,
    }
    production.plugin_settings(settings)


def give_role(email, course_id, role):
    """What the LMS does when somebody is given a course role."""
    given = data.CourseAccessRoleData(
        user=user(email), org_key="Demo", course_key=key(course_id), role=role
    )
    send(signals.COURSE_ACCESS_ROLE_ADDED, course_access_role_data=given)


def enroll(email, course_id, mode):
    """What the LMS does when somebody is enrolled."""
    made = data.CourseEnrollmentData(
        user=user(email),
        course=data.CourseData(course_key=key(course_id)),
        mode=mode,
        is_active=True,
        creation_date=datetime.datetime.now(datetime.timezone.utc),
    )
    send(signals.COURSE_ENROLLMENT_CREATED, enrollment=made)


def send(signal, **event):
    for receiver, outcome in signal.send_event(**event):
        if isinstance(outcome, Exception):
            raise outcome


def user(email):
    person = data.UserPersonalData(username=email.split("@")[0], email=email)
    return data.UserData(id=1, is_active=True, pii=person)


def key(course_id):
    return course_id and CourseKey.from_string(course_id)
