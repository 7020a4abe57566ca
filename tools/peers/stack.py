"""The local stack, as `make run` starts it, and the requests that tests make of it."""

import collections
import contextlib
import ctypes
import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time

import requests

RUN = "course-v1:Demo+RustOnLambda+2026_T3"

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# The time limit of a start, long enough to build the functions on a slow machine.
START_SECONDS = 600
STOP_SECONDS = 60

# The signature for DynamoDB's stand-in, which needs one and does not check it.
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/x/aws4_request, "
    "SignedHeaders=host, Signature=none"
)


class Stack:
    """A running stack with data of its own."""

    def __init__(self, program, folder, port):
        self.folder = pathlib.Path(folder)
        self.cli = pathlib.Path(program).resolve().with_name("coursehook")
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DATA", "LMS_URL", "COURSEHOOK_CLI")
        }
        environment |= {"COURSEHOOK_LOCAL": str(self.folder), "PORT": str(port)}
        self.process = subprocess.Popen(
            [str(pathlib.Path(program).resolve())],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=end_with_parent,
        )
        self.said = collections.deque(maxlen=50)
        self.up = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("Ctrl-C"):
                self.up.set()
        # The process has ended, so waiting longer is useless.
        self.up.set()

    def wait_until_up(self):
        if not self.up.wait(START_SECONDS) or self.process.poll() is not None:
            raise RuntimeError("the stack did not start:\n" + "".join(self.said))
        text = (self.folder / "env").read_text()
        words = shlex.split(text)
        self.variables = dict(word.split("=", 1) for word in words)
        self.url = self.variables["COURSEHOOK_URL"]
        self.token = self.variables["COURSEHOOK_TOKEN"]
        self.lms_url = self.variables["LMS_URL"]

    def stop(self):
        """Stops the stack by Ctrl-C, which is a success."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join(STOP_SECONDS)
        if code != 0:
            raise RuntimeError(f"the stack ended with {code}:\n" + "".join(self.said))

    # --------------------------------------------------------- operators

    def coursehook(self, *arguments, given=None):
        """Returns the output of the operators' command line, as JSON."""
        ran = subprocess.run(
            [str(self.cli), *arguments, "--json"],
            env=os.environ | self.variables,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"coursehook {arguments}: {ran.stderr}")
        return json.loads(ran.stdout)

    def import_user(self, email, username):
        row = {"email": email, "edx_username": username, "name": username.title()}
        self.coursehook("users", "import", "-", given=json.dumps(row))

    def import_run(self, course_id):
        row = {"course_id": course_id, "title": "A run"}
        self.coursehook("runs", "import", "-", given=json.dumps(row))

    def enrollments(self, email):
        return self.coursehook("enrollments", "show", email, "--history")

    def pending(self, email):
        """Returns the pending events of a learner, by kind."""
        events = self.coursehook("events", "list")
        return {event["kind"]: event for event in events if event["email"] == email}

    def retry_due(self):
        """Retries the due pending events of both lanes once, as the schedules do."""
        summaries = []
        for function in ("own-events", "lms-events"):
            url = f"{self.url}/2015-03-31/functions/{function}/invocations"
            answer = requests.post(url, data="{}", timeout=120)
            answer.raise_for_status()
            summaries.append(answer.json())
        own, lms = summaries
        counts = ("attempted", "done", "failed", "certified")
        return {**own, **{name: own[name] + lms[name] for name in counts}}

    # ------------------------------------------------------- stored items

    def _amazon(self, service, action, body):
        endpoint, target, version = {
            "dynamodb": ("DYNAMODB", "DynamoDB_20120810", "1.0"),
            "secrets": ("SECRETS_MANAGER", "secretsmanager", "1.1"),
        }[service]
        answer = requests.post(
            self.variables[f"AWS_ENDPOINT_URL_{endpoint}"],
            data=json.dumps(body),
            headers={
                "Authorization": SIGNED,
                "X-Amz-Date": "20260101T000000Z",
                "X-Amz-Target": f"{target}.{action}",
                "Content-Type": f"application/x-amz-json-{version}",
            },
            timeout=30,
        )
        if answer.status_code != 200:
            raise RuntimeError(f"{action}: {answer.status_code} {answer.text}")
        return answer.json()

    def _of_learner(self, table, email, course_id):
        user = self.coursehook("users", "show", email)
        key = {"user_id": {"S": user["user_id"]}, "course_id": {"S": course_id}}
        body = {
            "TableName": self.variables[table],
            "Key": key,
            "ConsistentRead": True,
        }
        item = self._amazon("dynamodb", "GetItem", body).get("Item")
        return item and plain({"M": item})

    def grade(self, email, course_id=RUN):
        return self._of_learner("GRADES_TABLE", email, course_id)

    def certificate(self, email, course_id=RUN):
        return self._of_learner("CERTIFICATES_TABLE", email, course_id)

    def secret(self, variable):
        body = {"SecretId": self.variables[variable]}
        return self._amazon("secrets", "GetSecretValue", body)["SecretString"]

    def new_secret(self, name):
        """Creates a secret without a value; returns its name."""
        self._amazon("secrets", "CreateSecret", {"Name": name})
        return name

    def put_secret(self, variable, value):
        body = {"SecretId": self.variables[variable], "SecretString": value}
        self._amazon("secrets", "PutSecretValue", body)

    # ---------------------------------------------------------- the LMS

    @property
    def grades_file(self):
        return self.folder / "data" / "grades.csv"

    def set_grade(self, username, course_id, percent, passed, letter=""):
        """Sets a learner's grade in the LMS, replacing any other."""
        lines = self.grades_file.read_text().splitlines()
        lines = [line for line in lines if not line.startswith(f"{username},{course_id},")]
        lines.append(f"{username},{course_id},{percent},{str(passed).lower()},{letter}")
        # The file is replaced atomically: the stand-in reads it at every request.
        new = self.grades_file.with_name("grades.new")
        new.write_text("\n".join(lines) + "\n")
        os.replace(new, self.grades_file)

    def enroll(self, username, course_id, mode, is_active):
        """Enrolls a learner in the LMS who was not enrolled."""
        file = self.folder / "data" / "lms-enrollments.csv"
        new = file.with_name("lms-enrollments.new")
        line = f"{username},{course_id},{mode},{str(is_active).lower()}\n"
        new.write_text(file.read_text().rstrip("\n") + "\n" + line)
        os.replace(new, file)

    def add_fault(self, **rule):
        """Adds a fault rule to the LMS."""
        answer = requests.post(f"{self.lms_url}/_local/fault-rules", json=rule, timeout=10)
        answer.raise_for_status()

    def revoke_faults(self):
        answer = requests.delete(f"{self.lms_url}/_local/fault-rules", timeout=10)
        answer.raise_for_status()

    def lms_calls(self):
        answer = requests.get(f"{self.lms_url}/_local/calls", timeout=10)
        answer.raise_for_status()
        return answer.json()

    # ---------------------------------------------------------- the logs

    def logs(self):
        files = ("functions.log", "gateway.log")
        texts = [(self.folder / "logs" / name).read_text() for name in files]
        return "".join(texts)

    def received(self):
        """Returns the number of deliveries that the functions have received."""
        return (self.folder / "logs" / "functions.log").read_text().count('"delivery received"')


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """Makes this process end with its parent, even if the parent is killed."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def plain(value):
    """Converts a value of DynamoDB to one of Python."""
    ((kind, value),) = value.items()
    if kind == "N":
        return float(value)
    if kind == "M":
        return {name: plain(inner) for name, inner in value.items()}
    if kind == "L":
        return [plain(inner) for inner in value]
    return value


def is_free(port):
    """True if none of a stack's four ports is in use."""
    for one in range(port, port + 4):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", one))
            except OSError:
                return False
    return True


def free_ports():
    """Returns the first of four free ports, apart from those of `make run`, of its
    test, and of the system."""
    first = os.getpid() % 1000 * 4
    for n in range(1000):
        port = 26000 + (first + n * 4) % 4000
        if is_free(port):
            return port
    raise RuntimeError("no ports between 26000 and 30000 are free")


# The one stack of this process; tests have learners of their own.
the = None


@contextlib.contextmanager
def running(program):
    global the
    with tempfile.TemporaryDirectory(prefix="coursehook-peers-") as folder:
        began = time.monotonic()
        the = Stack(program, folder, free_ports())
        try:
            the.wait_until_up()
            print(f"The stack is up after {time.monotonic() - began:.1f} s.", flush=True)
            yield
        except BaseException:
            # The cause of the failure must not be hidden by an error at the stop.
            with contextlib.suppress(RuntimeError):
                the.stop()
            raise
        the.stop()
