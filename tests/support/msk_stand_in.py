"""Stands in for Amazon MSK's IAM access control: checks each login's signed URL as AWS does, then lets it through.

It ends OAUTHBEARER before a real broker's listener without a login. Source of the token's form:
https://docs.aws.amazon.com/msk/latest/developerguide/iam-access-control.html and, for the signature of a URL,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import socket
import socketserver
import struct
import threading
from typing import cast
from urllib.parse import parse_qsl, quote, urlsplit

SASL_HANDSHAKE, SASL_AUTHENTICATE = 17, 36
SASL_AUTHENTICATION_FAILED = 58


class MskStandIn(socketserver.ThreadingTCPServer):
    """Listens on `port` while in a `with` block, for who signs with this key."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, target_port: int, *, region: str, access_key: str, secret_key: str) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.target_port = target_port
        self.region = region
        self.access_key = access_key
        self.secret_key = secret_key
        self.logins: list[str] = []
        """The URLs that were signed well."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def refusal(self, message: bytes) -> str:
        """Return why a client's first message (RFC 7628) is refused; empty when it is accepted."""
        found = re.fullmatch(rb"n,,\x01auth=Bearer ([A-Za-z0-9_-]+)\x01\x01", message)
        if found is None:
            return "not a bearer token in base64url without padding"
        url = base64.urlsafe_b64decode(found[1] + b"=" * (-len(found[1]) % 4)).decode()
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=True))
        if (parts.scheme, parts.netloc, parts.path) != ("https", f"kafka.{self.region}.amazonaws.com", "/"):
            return f"not the cluster's region: {parts.netloc}"
        if query["Action"] != "kafka-cluster:Connect" or query["X-Amz-Expires"] != "900":
            return "not a connect of 15 minutes"
        day = query["X-Amz-Date"][:8]
        scope = f"{day}/{self.region}/kafka-cluster/aws4_request"
        if query["X-Amz-Credential"] != f"{self.access_key}/{scope}":
            return "not a key that is known"
        signature = query.pop("X-Amz-Signature")
        query.pop("User-Agent")  # it is not signed
        if not hmac.compare_digest(signature, self._signature(query, parts.netloc, scope)):
            return "The security token included in the request is invalid"
        self.logins.append(url)
        return ""

    def _signature(self, query: dict[str, str], host: str, scope: str) -> str:
        listed = "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))
        payload = hashlib.sha256(b"").hexdigest()
        request = f"GET\n/\n{listed}\nhost:{host}\n\nhost\n{payload}"
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{digest}"
        key = f"AWS4{self.secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.new(key, text.encode(), "sha256").hexdigest()


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        stand_in = cast("MskStandIn", self.server)
        with socket.create_connection(("127.0.0.1", stand_in.target_port)) as broker:
            if self._logs_in(stand_in, broker):
                back = threading.Thread(target=_pump, args=(broker, self.connection), daemon=True)
                back.start()
                _pump(self.connection, broker)

    def _logs_in(self, stand_in: MskStandIn, broker: socket.socket) -> bool:
        while length := self.rfile.read(4):
            request = self.rfile.read(*struct.unpack(">i", length))
            key, _, correlation, client_bytes = struct.unpack_from(">hhih", request)
            body = request[10 + max(client_bytes, 0) :]
            answer = struct.pack(">i", correlation)
            if key == SASL_HANDSHAKE:
                answer += struct.pack(">hih", 0, 1, len("OAUTHBEARER")) + b"OAUTHBEARER"
            elif key == SASL_AUTHENTICATE:
                refusal = stand_in.refusal(body[4:])
                told = refusal.encode()
                error = struct.pack(">hh", SASL_AUTHENTICATION_FAILED, len(told)) + told
                answer += (error if refusal else struct.pack(">hh", 0, -1)) + struct.pack(">iq", 0, 0)
            else:  # ApiVersions
                broker.sendall(length + request)
                answer = _frame(broker)
            self.connection.sendall(struct.pack(">i", len(answer)) + answer)
            if key == SASL_AUTHENTICATE:
                return not refusal
        return False


def _frame(source: socket.socket) -> bytes:
    (length,) = struct.unpack(">i", _exactly(source, 4))
    return _exactly(source, length)


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := source.recv(count - len(data))):
        data += more
    return data


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
