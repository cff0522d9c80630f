"""Runs the command of `sasl.oauthbearer.token.command` and reads the token that it prints."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any, Final

from tailrace.errors import UnreachableError, WorldError, excerpt
from tailrace.kafka.tokens import Token

KEY: Final = "sasl.oauthbearer.token.command"
TIMEOUT_S: Final = 30.0

_SECONDS_MAX: Final = 1e12
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""Source: RFC 6750, section 2.1."""
_PRINT: Final = 'let it print a JWT with an `exp`, or JSON with "access_token" and "expires_in" in seconds, and no more'


def words_of(command: str) -> list[str]:
    """Return the program and its arguments, as a shell splits them. Raises ValueError."""
    return shlex.split(command)


def fetch(command: str, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.time) -> Token:
    """Run the command, without a shell, and return its token.

    Raises WorldError that says what went wrong; what the command printed is never shown, it may be a secret.
    """
    return read_token(_run(words_of(command), timeout_s), clock())


def read_token(printed: str, now_s: float) -> Token:
    """Return the token that a command has printed at a time, in seconds since the epoch. Raises WorldError."""
    text = printed.strip()
    if not text:
        raise WorldError(f"the command of {KEY} printed nothing", hint=_PRINT)
    expires_in: object = None
    if text.startswith("{"):
        answer = _json(text)
        text, expires_in = str(answer.get("access_token", "")), answer.get("expires_in")
    if not _TOKEN.fullmatch(text):
        raise WorldError(f"the command of {KEY} printed no token", hint=_PRINT)
    life_s = _number(expires_in)
    expires_s = _expiry_of(text) if life_s is None else now_s + life_s
    if expires_s is None:
        raise WorldError(f"the command of {KEY} printed a token that does not say when it expires", hint=_PRINT)
    return Token(text, expires_s)


def _run(words: list[str], timeout_s: float) -> str:
    """Return what a command prints. It has a process group of its own, which is killed when time is up."""
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise WorldError(
            f"the program {excerpt(words[0])} of {KEY} cannot be started: {(error.strerror or str(error)).lower()}",
            hint="check its path and that it may be executed",
        ) from error
    with process:
        try:
            printed, complaints = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            raise UnreachableError(
                f"the command of {KEY} did not end within {timeout_s:g} s", hint="run it by hand to see why"
            ) from error
    if process.returncode:
        lines = [line.strip() for line in complaints.decode(errors="replace").splitlines() if line.strip()]
        how = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        why = f": {excerpt(lines[-1])}" if lines else ", and no message"
        raise UnreachableError(f"the command of {KEY} failed with {how}{why}", hint="run it by hand to see why")
    return printed.decode(errors="replace")


def _expiry_of(token: str) -> float | None:
    """Return a JWT's `exp`; None for any other token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return _number(claims.get("exp")) if isinstance(claims, dict) else None


def _json(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    return answer if isinstance(answer, dict) else {}


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > _SECONDS_MAX:
        return None
    return float(value)
