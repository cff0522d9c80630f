"""A small OpenID issuer: its keys (JWKS) and a token endpoint for client credentials. What it signs is a real RS256."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

CLIENT, SECRET = "tailrace", "issuer-secret"
AUDIENCE = "kafka"
_KEY_ID = "tests"
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""What stands before a SHA-256 in a signature. Source: RFC 8017, section 9.2."""

# A key of 2,048 bits that signs nothing but tokens of tests.
MODULUS = int(
    "a03d689edb6b91e2fd16ef429533100a02788b3de1924ad8eade8cd90d339af7e7f093c4b19b19846d39804414acfaef"
    "ce9f6304806a01d0359275d06c35e9401974af21e0d450655f4f9b4d64e707b55ffab0f15bce6081fa2b025c8934c36f"
    "1f80205ac8faa8c4fa792ae7a2a4c147a31a48bd139b72c86072fd5200fc7a51eaaa6b3af8e60689a8c5849641f74f0c"
    "24f55b93c947aa8276d52bf21c3e9cf57261ff8577b777a798808a9199fda7480db1b40e498269afc816d964e72ddde3"
    "85460d14031a4160ac83b37753f72998dbcc2c322163261b31b87111f89c4fa4524394ab34bb77c6309c2505f6c0d6a7"
    "f2c0e11839432e5389e00a4a477dccd3",
    16,
)
PRIVATE_EXPONENT = int(
    "2a5e6259d2999c3ee0fd9df0c4837663b7288964a8cea624b9e1736b76aea4f494aacb5f90387ae4457f1537ab21dbcd"
    "e99bc2323004178ba6869dc928bb8e7b88df8de90eca04a1f1341ad3b970cedc79ceced75a97747419a222a3361231f4"
    "a1671ee6f24a38b2b0a9b61afe29c3033e9096180c65a7516d132a80f2cacf4a8b0bce761e39db61fb2b7ab3ad171c55"
    "be2679654e48d75674d3024c8486cf088b344b539a8014c0c7b5142b6caf4449f0b897714a57c1b6499a8387c5eb9918"
    "2e2830bd9e3783bc425949e9a0e9b1ba51d1393ad64b21a5c4a3f46e6fe3afce8651310524664cd0a5576ae029a8313d"
    "f3887be0b81eca940065781c0ba08311",
    16,
)
_LENGTH = 256


class Issuer:
    """Listens while in a `with` block; `life_s` is how long its tokens hold."""

    def __init__(self) -> None:
        self.life_s = 300
        self.issued = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.issuer = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def token(self, **claims: Any) -> str:
        """Return a signed JWT; `claims` win over those that are usual."""
        self.issued += 1
        now_s = int(time.time())
        usual = {"iss": self.url, "sub": CLIENT, "aud": AUDIENCE, "iat": now_s, "exp": now_s + self.life_s}
        head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, {**usual, **claims}))
        return f"{signed}.{_base64(_sign(signed.encode()))}"

    def command(self, secret: str = SECRET) -> str:
        """Return a command that fetches a token and prints the endpoint's answer; it fails as curl does."""
        program = (
            "import base64, sys, urllib.request as r;"
            f"login = base64.b64encode(b'{CLIENT}:{secret}').decode();"
            f"q = r.Request('{self.url}/token', b'grant_type=client_credentials');"
            "q.add_header('Authorization', 'Basic ' + login);"
            "print(r.urlopen(q).read().decode())"
        )
        return shlex.join([sys.executable, "-c", program])

    def answer(self, path: str, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Return the status and the body for a request."""
        if path == "/jwks":
            numbers = {"n": _base64(MODULUS.to_bytes(_LENGTH, "big")), "e": "AQAB"}
            return 200, {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID, **numbers}]}
        given = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if given != f"{CLIENT}:{SECRET}" or form.get("grant_type") != ["client_credentials"]:
            return 401, {"error": "invalid_client", "error_description": "unknown client or wrong secret"}
        return 200, {"access_token": self.token(), "token_type": "Bearer", "expires_in": self.life_s}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))

    def _answer(self, form: dict[str, list[str]]) -> None:
        issuer: Issuer = self.server.issuer  # type: ignore[attr-defined]
        status, body = issuer.answer(self.path, self.headers.get("Authorization", ""), form)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        pass


def _sign(data: bytes) -> bytes:
    """Return the signature of PKCS #1 1.5 with SHA-256."""
    info = _SHA256_INFO + hashlib.sha256(data).digest()
    padded = b"\x00\x01" + b"\xff" * (_LENGTH - len(info) - 3) + b"\x00" + info
    return pow(int.from_bytes(padded, "big"), PRIVATE_EXPONENT, MODULUS).to_bytes(_LENGTH, "big")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
