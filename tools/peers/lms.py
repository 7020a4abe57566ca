"""The LMS of lms_server.py, in a process of its own, and a proxy in front of it."""

import contextlib
import http.server
import pathlib
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

import requests

from stack import end_with_parent

CLIENT_ID = "coursehook-peers"
CLIENT_SECRET = "only-on-this-machine"
# The LMS's own host name, behind its proxy.
HOST = "lms.internal"

START_SECONDS = 60


class Lms:
    """The LMS's process. It can be stopped and restarted: its state is in a file."""

    def __init__(self, folder):
        self.folder = folder
        self.port = 0
        self.start()

    def start(self):
        server = pathlib.Path(__file__).with_name("lms_server.py")
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(server), self.folder, str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=end_with_parent,
        )
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        self.url = self.process.stdout.readline().strip()
        timer.cancel()
        if not self.url:
            raise RuntimeError("the LMS of the real packages did not start")
        # A restarted LMS listens on the same port.
        self.port = int(self.url.rpartition(":")[2])

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def restart(self):
        self.stop()
        self.start()

    def set(self, **changes):
        """Changes the LMS through its `_test` endpoint, which also clears the
        recorded requests."""
        answer = requests.post(f"{self.url}/_test/", json=changes, timeout=60)
        answer.raise_for_status()

    def calls(self, part=""):
        answer = requests.get(f"{self.url}/_test/", timeout=10)
        answer.raise_for_status()
        return [call for call in answer.json() if part in call["path"]]


class Proxy:
    """A proxy in front of an LMS: it passes another host and scheme to the LMS than
    the client used, and may answer requests itself."""

    def __init__(self, lms):
        self.lms = lms
        # The proxy's own answer: a part of the paths, a status, headers and a body.
        self.own = None
        self.host = HOST
        handler = type("OfThis", (Handler,), {"proxy": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, args=(0.05,), daemon=True
        ).start()

    @contextlib.contextmanager
    def answering(self, status, part="", body="<html>a page</html>", **headers):
        """Answers requests for paths with this part itself."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.own = (part, status, {"Content-Type": "text/html"} | headers, body)
        try:
            yield
        finally:
            self.own = None

    @contextlib.contextmanager
    def saying_host(self, host):
        self.host = host
        try:
            yield
        finally:
            self.host = HOST

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    proxy = None

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        own = self.proxy.own
        if own and own[0] in self.path:
            self.answer(own[1], own[2].items(), own[3].encode())
            return
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("host", "connection", "content-length")
        }
        headers |= {"Host": self.proxy.host, "X-Forwarded-Proto": "https"}
        # Redirects are passed on to the client.
        request = urllib.request.Request(
            self.proxy.lms.url + self.path,
            data=body if self.command == "POST" else None,
            headers=headers,
            method=self.command,
        )
        opener = urllib.request.build_opener(NoRedirects, urllib.request.ProxyHandler({}))
        try:
            answer = opener.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        except OSError:
            # The LMS is restarting: the client's connection breaks, too.
            self.close_connection = True
            return
        with answer:
            self.answer(answer.status, answer.headers.items(), answer.read())

    do_POST = do_GET

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


# The one LMS of this process.
the = None


@contextlib.contextmanager
def running():
    global the
    with tempfile.TemporaryDirectory(prefix="coursehook-peers-lms-") as folder:
        the = Lms(folder)
        try:
            yield
        finally:
            the.stop()
