"""Asks a REST API of Flink: that of the SQL gateway, and that of a cluster."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from decimal import Decimal
from typing import Any, Final

import msgspec

from tailrace.errors import UnreachableError, WorldError

_TIMEOUT_S: Final = 60.0
_CAUSE: Final = re.compile(r"Caused by: (?:[\w.$]+\.)?(\w+(?:: [^\n]+)?)")
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
_decode: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


def call(method: str, url: str, body: object = None) -> dict[str, Any]:
    """Return the answer.

    Raises:
        UnreachableError: nobody answers.
        WorldError: the request is refused; what Flink names as the cause is in the sentence.
    """
    content = None if body is None else msgspec.json.encode(body)
    request = urllib.request.Request(url, data=content, method=method, headers={"Content-Type": "application/json"})
    try:
        with _direct(request, timeout=_TIMEOUT_S) as answer:
            return _decode(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise WorldError(f"Flink refuses: {cause(error.read().decode(errors='replace'))}") from None
    except OSError as error:  # URLError is one
        raise UnreachableError(f"Flink does not answer at {url}: {error}") from error


def cause(trace: str) -> str:
    """Return what is at the root of a stack trace of Java's."""
    text = trace.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
    causes = _CAUSE.findall(text)
    return causes[-1] if causes else text.strip().partition("\n")[0]
