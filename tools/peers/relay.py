"""A server between the plugin and Coursehook. It passes on every byte of a request
and of its answer, and records both. It can be set to fail as gateways do: to answer
itself, or to lose an answer."""

import collections
import http.client
import http.server
import json
import threading
import urllib.parse

# Headers of one connection only, which are not passed on.
OF_CONNECTION = ("connection", "keep-alive", "transfer-encoding")


class Attempt:
    """A request, and the status with which Coursehook or this server answered it."""

    def __init__(self, path, headers, body):
        self.path = path
        self.headers = headers
        self.body = body
        self.status = None
        self.answer_headers = {}
        self.answer = b""

    @property
    def said(self):
        return json.loads(self.answer)


class Relay:
    def __init__(self, target):
        self.target = urllib.parse.urlsplit(target)
        self.attempts = []
        # The treatment of the next requests, in turn; all later ones are passed on.
        self.turns = collections.deque()
        handler = type("OfThis", (Handler,), {"relay": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(
            target=self.server.serve_forever, args=(0.05,), daemon=True
        ).start()

    def refuse(self, times, status=503):
        """Answers this many requests itself."""
        self.turns.extend([status] * times)

    def lose_answers(self, times):
        """Passes on this many requests, and breaks the connection after the answer."""
        self.turns.extend(["lose"] * times)

    @property
    def statuses(self):
        return [attempt.status for attempt in self.attempts]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    relay = None

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        attempt = Attempt(self.path, list(self.headers.items()), self.rfile.read(length))
        self.relay.attempts.append(attempt)
        try:
            turn = self.relay.turns.popleft()
        except IndexError:
            turn = None
        if isinstance(turn, int):
            attempt.status = turn
            attempt.answer = b'{"message": "Service Unavailable"}'
            attempt.answer_headers = {"Content-Type": "application/json"}
        else:
            self.pass_on(attempt)
        if turn == "lose":
            attempt.status = "lost"
            self.close_connection = True
            return
        self.send_response_only(attempt.status)
        for name, value in attempt.answer_headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(attempt.answer)))
        self.end_headers()
        self.wfile.write(attempt.answer)

    def pass_on(self, attempt):
        target = self.relay.target
        # Longer than the plugin waits, so that this server does not time out first.
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=60)
        connection.putrequest(
            "POST", attempt.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in attempt.headers:
            if name.lower() not in OF_CONNECTION:
                connection.putheader(name, value)
        connection.endheaders(attempt.body)
        answer = connection.getresponse()
        attempt.status = answer.status
        attempt.answer = answer.read()
        attempt.answer_headers = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in (*OF_CONNECTION, "content-length")
        }
        connection.close()

    def log_message(self, *_):
        pass
