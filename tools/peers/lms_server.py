"""A small LMS made of the platform's own packages, in a process of its own.

    python tools/peers/lms_server.py FOLDER [PORT]

The token endpoint, the check of JWTs, cursors, throttles, and the forms of errors
are those of the packages: django-oauth-toolkit, edx-drf-extensions,
djangorestframework, edx-opaque-keys, django-ratelimit, Django. This file has the
parts that are in the platform's own repository and in no package: the views of
grades and enrollments, their settings, `{"developer_message": ...}` around an
error, the check of `Bearer` tokens, and the conversion of an access token to a
JWT.

It listens on any free port unless one is named, prints its URL, and stores its database in FOLDER.
`POST /_test/` changes it, `GET /_test/` returns the requests so far.
"""

import datetime
import json
import logging
import sys
import threading
import time

import django
import jwt
from django.conf import settings
from jwcrypto import jwk

KEY = jwk.JWK.generate(kty="RSA", size=2048, kid="peers")
AUDIENCE = "peers-audience"

settings.configure(
    SECRET_KEY="only-on-this-machine",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "lms.internal"],
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    USE_TZ=True,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": f"{sys.argv[1]}/lms.db",
            "OPTIONS": {"timeout": 20},
        }
    },
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "oauth2_provider",
        "rest_framework",
    ],
    MIDDLEWARE=[f"{__name__}.recorded", "django.middleware.common.CommonMiddleware"],
    OAUTH2_PROVIDER={"SCOPES": {"read": "", "write": "", "profile": "", "email": ""}},
    REST_FRAMEWORK={"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]},
    JWT_AUTH={
        "JWT_ISSUER": "http://127.0.0.1/oauth2",
        "JWT_AUDIENCE": AUDIENCE,
        "JWT_SECRET_KEY": "only-on-this-machine",
        "JWT_VERIFY_AUDIENCE": True,
        "JWT_DECODE_HANDLER": "edx_rest_framework_extensions.auth.jwt.decoder.jwt_decode_handler",
        "JWT_AUTH_HEADER_PREFIX": "JWT",
        "JWT_LEEWAY": 1,
        "JWT_PUBLIC_SIGNING_JWK_SET": json.dumps({"keys": [KEY.export_public(as_dict=True)]}),
    },
    LOGGING_CONFIG=None,
)
django.setup()

from django import forms
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.validators import validate_slug
from django.core.wsgi import get_wsgi_application
from django.db import connection, models, transaction
from django.http import Http404, JsonResponse
from django.urls import path, re_path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django_ratelimit.decorators import ratelimit
from edx_rest_framework_extensions.auth.jwt.authentication import JwtAuthentication
from edx_rest_framework_extensions.permissions import IsStaff
from oauth2_provider.models import AccessToken, Application
from oauth2_provider.views import TokenView
from opaque_keys import InvalidKeyError
from opaque_keys.edx.keys import CourseKey
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import APIException, AuthenticationFailed, ValidationError
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle

User = get_user_model()

# The settings that tests change.
knobs = {
    # The lifetime of an access token in seconds.
    "token_seconds": 3600,
    # The seconds by which the clock of the host that issues tokens is ahead.
    "clock_ahead": 0,
    # The throttle rates of the enrollment endpoints, of a staff user and of others.
    "enrollment_rates": {"staff": "120/minute", "user": "40/minute"},
    "token_rate": "120/m",
    # The number of API requests whose valid token is rejected.
    "refused_tokens": 0,
    # The number of rows with the same timestamp that a cursor can skip.
    "offset_cutoff": CursorPagination.offset_cutoff,
}
calls = []
lock = threading.Lock()


class Course(models.Model):
    course_id = models.CharField(max_length=255, unique=True)

    class Meta:
        app_label = "peers"


class Enrollment(models.Model):
    user = models.ForeignKey(User, models.CASCADE)
    course_id = models.CharField(max_length=255, db_index=True)
    created = models.DateTimeField(db_index=True)
    mode = models.CharField(max_length=100)
    is_active = models.BooleanField()
    # A learner without a stored grade has a grade of 0.
    percent = models.FloatField(default=0.0)
    passed = models.BooleanField(default=False)
    letter = models.CharField(max_length=255, null=True)

    class Meta:
        app_label = "peers"
        unique_together = ["user", "course_id"]


# ------------------------------------------------------------------ tokens


@method_decorator(
    ratelimit(key="ip", rate=lambda *_: knobs["token_rate"], method="POST"), name="dispatch"
)
class AccessTokenView(TokenView):
    """The toolkit's view; it converts the token to a JWT if one is requested."""

    def post(self, request):
        answer = super().post(request)
        if answer.status_code != 200 or request.POST.get("token_type", "").lower() != "jwt":
            return answer
        body = json.loads(answer.content)
        token = AccessToken.objects.select_related("application__user").get(
            token=body["access_token"]
        )
        body |= {
            "access_token": as_jwt(token.application.user, body["scope"].split()),
            "token_type": "JWT",
            "expires_in": knobs["token_seconds"],
        }
        return JsonResponse(body)


def as_jwt(user, scopes):
    now = int(time.time() + knobs["clock_ahead"])
    claims = {
        "aud": AUDIENCE,
        "exp": now + knobs["token_seconds"],
        "iat": now,
        "iss": settings.JWT_AUTH["JWT_ISSUER"],
        "preferred_username": user.username,
        "scopes": scopes,
        "version": "1.2.0",
        "sub": str(user.id),
        "filters": [],
        "is_restricted": False,
    }
    key = jwt.PyJWK(KEY.export_private(as_dict=True)).key
    return jwt.encode(claims, key, algorithm="RS512", headers={"kid": "peers"})


class BearerTokens(BaseAuthentication):
    """Checks access tokens that are no JWT, as the platform does."""

    def authenticate(self, request):
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != b"bearer":
            return None
        if len(words) == 1:
            self.fail("token_not_provided", "No credentials provided.")
        if len(words) > 2:
            self.fail("token_malformed", "Token string should not contain spaces.")
        token = AccessToken.objects.filter(token=words[1].decode()).first()
        if token is None:
            self.fail("token_nonexistent", "The provided access token does not match.")
        if token.expires < timezone.now():
            self.fail("token_expired", "The provided access token has expired.")
        return token.user, token

    @staticmethod
    def fail(code, message):
        raise AuthenticationFailed({"error_code": code, "developer_message": message})

    def authenticate_header(self, request):
        return 'Bearer realm="api"'


# --------------------------------------------------------- the APIs' errors


class Refused(Exception):
    def __init__(self, status, code, message):
        self.response = Response(
            {"developer_message": message, "error_code": code}, status=status
        )


class DeveloperErrors:
    """Formats errors as the first version of the platform's APIs does."""

    def handle_exception(self, error):
        if isinstance(error, Refused):
            return error.response
        if isinstance(error, APIException):
            return Response({"developer_message": error.detail}, status=error.status_code)
        if isinstance(error, Http404):
            return Response({"developer_message": str(error) or "Not found."}, status=404)
        raise error


class Jwts(JwtAuthentication):
    def authenticate(self, request):
        user = super().authenticate(request)
        with lock:
            if user and knobs["refused_tokens"] > 0:
                knobs["refused_tokens"] -= 1
                raise AuthenticationFailed("Invalid token.")
        return user


class Api(DeveloperErrors):
    authentication_classes = [Jwts, BearerTokens]
    permission_classes = [IsAuthenticated, IsStaff]


# ------------------------------------------------------------------- grades


class Pagination(CursorPagination):
    offset_cutoff = property(lambda self: knobs["offset_cutoff"])


class GradesPagination(Pagination):
    page_size = 50
    page_size_query_param = "page_size"
    ordering = "created"


class Grades(Api, GenericAPIView):
    pagination_class = GradesPagination

    def get(self, request, course_id):
        try:
            CourseKey.from_string(course_id)
        except InvalidKeyError:
            raise Refused(404, "invalid_course_key", "The provided course key cannot be parsed.")
        if not Course.objects.filter(course_id=course_id).exists():
            raise Refused(404, "course_does_not_exist", "Requested grade for unknown course.")
        username = request.GET.get("username")
        enrollments = Enrollment.objects.filter(course_id=course_id).select_related("user")
        if not username:
            page = self.paginate_queryset(enrollments.filter(is_active=True))
            return self.get_paginated_response([self.row(one) for one in page])
        user = User.objects.filter(username=username).first()
        if user is None:
            raise Refused(404, "user_does_not_exist", "The user does not exist.")
        enrollment = enrollments.filter(user=user).first()
        if enrollment is None:
            raise Refused(404, "user_not_enrolled", "The user is not enrolled in this course.")
        return Response([self.row(enrollment)])

    @staticmethod
    def row(enrollment):
        return {
            "username": enrollment.user.username,
            # The platform leaves the address out unless it is requested.
            "email": "",
            "course_id": enrollment.course_id,
            "passed": enrollment.passed,
            "percent": enrollment.percent,
            "letter_grade": enrollment.letter,
        }


# -------------------------------------------------------------- enrollments


class EnrollmentThrottle(UserRateThrottle):
    """The throttle that all enrollment endpoints share."""

    THROTTLE_RATES = property(lambda self: knobs["enrollment_rates"])

    def allow_request(self, request, view):
        if request.user.is_authenticated and request.user.is_staff:
            self.scope = "staff"
            self.rate = self.get_rate()
            self.num_requests, self.duration = self.parse_rate(self.rate)
        return super().allow_request(request, view)


class EnrollmentsPagination(Pagination):
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 100
    ordering = "created"


class EnrollmentsForm(forms.Form):
    course_id = forms.CharField(required=False)
    username = forms.CharField(required=False)

    def clean_course_id(self):
        course_id = self.cleaned_data.get("course_id")
        if course_id:
            try:
                CourseKey.from_string(course_id)
            except InvalidKeyError:
                raise forms.ValidationError(f"'{course_id}' is not a valid course id.")
        return course_id

    def clean_username(self):
        usernames = self.cleaned_data.get("username")
        if not usernames:
            return []
        usernames = usernames.split(",")
        if len(usernames) > 100:
            raise forms.ValidationError(
                f"Too many usernames in a single request - {len(usernames)}. "
                "A maximum of 100 is allowed"
            )
        for username in usernames:
            validate_slug(username)
        return usernames


class Enrollments(Api, ListAPIView):
    throttle_classes = [EnrollmentThrottle]
    pagination_class = EnrollmentsPagination

    def get_queryset(self):
        form = EnrollmentsForm(self.request.query_params)
        if not form.is_valid():
            raise ValidationError(form.errors)
        found = Enrollment.objects.select_related("user")
        if form.cleaned_data["course_id"]:
            found = found.filter(course_id=form.cleaned_data["course_id"])
        if form.cleaned_data["username"]:
            found = found.filter(user__username__in=form.cleaned_data["username"])
        return found

    def list(self, request):
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response([self.row(one) for one in page])

    @staticmethod
    def row(enrollment):
        return {
            "created": enrollment.created,
            "mode": enrollment.mode,
            "is_active": enrollment.is_active,
            "user": enrollment.user.username,
            "course_id": enrollment.course_id,
        }


# -------------------------------------------------------------------- tests


class Test(View):
    """Changes the LMS, and returns the requests so far."""

    def get(self, request):
        return JsonResponse(calls, safe=False)

    def post(self, request):
        changes = json.loads(request.body)
        with transaction.atomic():
            for course_id, rows in changes.pop("courses", {}).items():
                self.enroll(course_id, rows)
            for client_id, attributes in changes.pop("clients", {}).items():
                staff = attributes.pop("is_staff", True)
                Application.objects.update_or_create(
                    client_id=client_id,
                    defaults=client(client_id, staff) | attributes,
                )
            for token, seconds in changes.pop("tokens", {}).items():
                end = timezone.now() + datetime.timedelta(seconds=seconds)
                AccessToken.objects.update_or_create(
                    token=token,
                    defaults={"expires": end, "user": worker(True), "scope": "read"},
                )
        if "allowed_hosts" in changes:
            settings.ALLOWED_HOSTS = changes.pop("allowed_hosts")
        unknown = changes.keys() - knobs.keys()
        if unknown:
            return JsonResponse({"unknown": sorted(unknown)}, status=400)
        knobs.update(changes)
        # The throttles start again from zero.
        cache.clear()
        calls.clear()
        return JsonResponse({})

    @staticmethod
    def enroll(course_id, rows):
        Course.objects.get_or_create(course_id=course_id)
        names = [row["username"] for row in rows]
        User.objects.bulk_create([User(username=name) for name in names], ignore_conflicts=True)
        users = {}
        for start in range(0, len(names), 500):
            users |= {
                user.username: user
                for user in User.objects.filter(username__in=names[start : start + 500])
            }
        Enrollment.objects.filter(course_id=course_id).delete()
        began = datetime.datetime(2026, 7, 1, tzinfo=datetime.timezone.utc)
        Enrollment.objects.bulk_create(
            Enrollment(
                user=users[row["username"]],
                course_id=course_id,
                # Each row has a timestamp of its own, unless it sets one.
                created=began + datetime.timedelta(seconds=row.get("second", number)),
                mode=row.get("mode", "verified"),
                is_active=row.get("is_active", True),
                percent=row.get("percent", 0.0),
                passed=row.get("passed", False),
                letter=row.get("letter_grade"),
            )
            for number, row in enumerate(rows)
        )


def worker(is_staff):
    """Returns the user whose credential a client is."""
    name = "staff_worker" if is_staff else "worker"
    return User.objects.get_or_create(username=name, defaults={"is_staff": is_staff})[0]


def client(client_id, is_staff):
    return {
        "name": client_id,
        "client_secret": "only-on-this-machine",
        "client_type": Application.CLIENT_CONFIDENTIAL,
        "authorization_grant_type": Application.GRANT_CLIENT_CREDENTIALS,
        "user": worker(is_staff),
    }


def recorded(get_response):
    """Records each request and its answer, except the tests' own requests."""

    def middleware(request):
        answer = get_response(request)
        if not request.path.startswith("/_test/"):
            with lock:
                calls.append(
                    {
                        "method": request.method,
                        "path": request.path,
                        "query": request.META["QUERY_STRING"],
                        "status": answer.status_code,
                        "at": time.time(),
                    }
                )
        return answer

    return middleware


urlpatterns = [
    path("oauth2/access_token", AccessTokenView.as_view()),
    path("oauth2/access_token/", AccessTokenView.as_view()),
    re_path(r"^api/grades/v1/courses/(?P<course_id>.+)/$", Grades.as_view()),
    path("api/enrollment/v1/enrollments", Enrollments.as_view()),
    path("api/enrollment/v1/enrollments/", Enrollments.as_view()),
    path("_test/", Test.as_view()),
]


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def main():
    # Rejected requests are seen in their answers.
    logging.disable(logging.CRITICAL)
    call_command("migrate", verbosity=0, run_syncdb=True)
    with connection.schema_editor() as editor:
        known = connection.introspection.table_names()
        for model in (Course, Enrollment):
            if model._meta.db_table not in known:
                editor.create_model(model)
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    server = ThreadedWSGIServer(("127.0.0.1", port), Quiet, ipv6=False)
    server.daemon_threads = True
    server.set_app(get_wsgi_application())
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
