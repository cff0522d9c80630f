"""A simulator for AWS's JSON services over real sockets: answers as scripted, keeps what it was asked."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import socket
import struct
import threading
import zlib
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "session-token-" + "t" * 400

Fault = Literal["reset", "hang", "cut short", "not http", "closed"]


@dataclass
class Answer:
    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: Fault | None = None
    raw: bytes | None = None
    """All that is sent, head and body; the connection is closed behind it."""


def ok(**fields: Any) -> Answer:
    body = json.dumps(fields).encode()
    return Answer(body, headers={"x-amz-crc32": str(zlib.crc32(body))})


def failure(code: str, message: str = "", status: int = 400) -> Answer:
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}).encode()
    return Answer(body, status, {"x-amz-crc32": str(zlib.crc32(body))})


def fault(kind: Fault) -> Answer:
    return Answer(fault=kind)


@dataclass
class Asked:
    operation: str
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> Any:
        return json.loads(self.body)


class FakeAws:
    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._script: dict[str, deque[Answer]] = defaultdict(deque)
        self._else = failure("Unscripted", status=500)
        self._done = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answers(self, operation: str, *answers: Answer) -> None:
        self._script[operation].extend(answers)

    def answers_else(self, answer: Answer) -> None:
        """Answer so whatever the script does not tell."""
        self._else = answer

    def operations(self) -> list[str]:
        return [asked.operation for asked in self.asked]

    def next_answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        script = self._script[asked.operation]
        return script.popleft() if script else self._else

    def hang(self) -> None:
        self._done.wait()

    def reset(self) -> None:
        """Forget the script and what was asked, and let go of those that hang."""
        self._done.set()
        self._done = threading.Event()
        self.asked.clear()
        self._script.clear()
        self._else = failure("Unscripted", status=500)

    def close(self) -> None:
        self.reset()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(fake: FakeAws) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 30

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            target = headers.get("x-amz-target")
            operation = target.rsplit(".", 1)[1] if target else parse_qs(body.decode())["Action"][0]
            self._give(fake.next_answer(Asked(operation, headers, body)))

        def do_GET(self) -> None:
            self._give(fake.next_answer(Asked("GET", {}, b"")))

        def _give(self, answer: Answer) -> None:
            self.close_connection = answer.fault is not None or answer.raw is not None
            if answer.fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif answer.fault == "hang":
                fake.hang()
            elif answer.fault == "not http":
                self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            elif answer.raw is not None:
                with contextlib.suppress(ConnectionError):  # the client has read enough
                    self.wfile.write(answer.raw)
            elif answer.fault != "closed":
                surplus = 10 if answer.fault == "cut short" else 0
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body) + surplus))
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def signature_of(asked: Asked, secret_key: str, *, host: str) -> tuple[str, str]:
    """Return the signature that came with a request, and the one that AWS would compute (Signature Version 4).

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    match = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=[^/]+/(\d{8}/[^/]+/[^/]+/aws4_request), "
        r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
        asked.headers["authorization"],
    )
    assert match, asked.headers["authorization"]
    scope, signed_headers, given = match.groups()
    values = asked.headers | {"host": host}
    headers = "".join(f"{name}:{values[name]}\n" for name in signed_headers.split(";"))
    canonical = "\n".join(("POST", "/", "", headers, signed_headers, hashlib.sha256(asked.body).hexdigest()))
    text = "\n".join(
        ("AWS4-HMAC-SHA256", asked.headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest())
    )
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return given, hmac.digest(key, text.encode(), "sha256").hex()
