"""The events plugin as an LMS runs it, with its own settings, receivers and tasks.
Tasks run synchronously, retries too, and without the waits between them: only the
number of retries counts."""

import datetime
import os
import sys
import types

import django
import openedx_authz
from celery import Celery
from django.conf import settings

settings.configure(
    # The plugin sends an enrollment once its transaction is committed.
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
    SECRET_KEY="only-on-this-machine",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "organizations",
        "waffle",
        "openedx_authz.engine.apps.CasbinAdapterConfig",
        # Course runs and libraries are part of the LMS's code; these are the package's
        # own stubs.
        "openedx_authz.tests.stubs.apps.StubsConfig",
        "openedx_authz.apps.OpenedxAuthzConfig",
    ],
    OPENEDX_AUTHZ_COURSE_OVERVIEW_MODEL="stubs.CourseOverview",
    OPENEDX_AUTHZ_CONTENT_LIBRARY_MODEL="stubs.ContentLibrary",
    CASBIN_MODEL=os.path.join(openedx_authz.ROOT_DIRECTORY, "engine", "config", "model.conf"),
    CASBIN_AUTO_LOAD_POLICY_INTERVAL=0,
    CASBIN_AUTO_SAVE_POLICY=True,
)
django.setup()

lms = Celery("lms", broker="memory://")
lms.conf.task_always_eager = True
lms.set_default()


def constants_of_the_lms():
    """Provides the constants by which the plugin's list of receivers is sorted; they
    are part of no package."""
    name = ""
    for part in "openedx.core.djangoapps.plugins.constants".split("."):
        name = f"{name}.{part}".lstrip(".")
        module = sys.modules.setdefault(name, types.ModuleType(name))
    module.ProjectType = types.SimpleNamespace(LMS="lms.djangoapp", CMS="cms.djangoapp")
    module.SettingsType = types.SimpleNamespace(COMMON="common", PRODUCTION="production")


constants_of_the_lms()

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.utils.module_loading import import_string
from ol_openedx_events_handler import tasks
from ol_openedx_events_handler.apps import OlOpenedxEventsHandlerConfig
from ol_openedx_events_handler.settings import common, production
from opaque_keys.edx.keys import CourseKey
from openedx_authz.api.users import assign_role_to_user_in_scope
from openedx_authz.tests.stubs.models import CourseOverview
from openedx_events.learning import data, signals

call_command("migrate", verbosity=0, run_syncdb=True)
common.plugin_settings(settings)


def registered_receivers():
    """Connects the receivers that the plugin registers in an LMS, except that of
    passes, whose signal is part of the LMS's code. Returns the names of their
    signals."""
    config = OlOpenedxEventsHandlerConfig.plugin_app["signals_config"]["lms.djangoapp"]
    connected = []
    for receiver in config["receivers"]:
        signal = receiver["signal_path"]
        if signal.startswith("openedx_events."):
            handle = import_string(receiver["dispatch_uid"])
            import_string(signal).connect(handle, dispatch_uid=receiver["dispatch_uid"])
            connected.append(signal.rpartition(".")[2])
    return connected


RECEIVED = registered_receivers()

role_added = tasks.notify_course_access_role_addition.delay
enrollment_created = tasks.notify_course_enrollment_created.delay
passed = tasks.create_certificate_for_passing_grade.delay


def deliver_to(url, token):
    """Configures the plugin as an LMS's operator does."""
    settings.ENV_TOKENS = {
        "ENROLLMENT_WEBHOOK_URL": f"{url}/api/openedx_webhook/enrollment/",
        "ENROLLMENT_WEBHOOK_ACCESS_TOKEN": token,
        "CERTIFICATE_WEBHOOK_URL": f"{url}/api/openedx_webhook/certificate/",
        "CERTIFICATE_WEBHOOK_ACCESS_TOKEN": token,
    }
    production.plugin_settings(settings)


def give_role(email, course_id, role):
    """Acts as the LMS does when a user is given a course role."""
    given = data.CourseAccessRoleData(
        user=user(email), org_key="Demo", course_key=key(course_id), role=role
    )
    send(signals.COURSE_ACCESS_ROLE_ADDED, course_access_role_data=given)


def assign_role(email, course_id, role):
    """Acts as the LMS does when a user is given a course role in its admin console,
    which only the authorization framework announces."""
    username = user(email).pii.username
    get_user_model().objects.get_or_create(username=username, defaults={"email": email})
    CourseOverview.objects.get_or_create(id=course_id)
    if not assign_role_to_user_in_scope(username, role, course_id):
        raise RuntimeError(f"{role} was not assigned")


def enroll(email, course_id, mode):
    """Acts as the LMS does when a user is enrolled."""
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
