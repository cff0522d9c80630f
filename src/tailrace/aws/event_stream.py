"""A response that goes on: events that AWS pushes over HTTP, taken as they arrive.

Nothing is read between two calls of `take`: what is not taken stays in the sockets' buffers, and AWS waits.
Source: https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream (the frames)
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from botocore.eventstream import EventStreamBuffer, ParserError

_RECEIVED_BYTES: Final = 1 << 18
_HEAD_BYTES_MAX: Final = 1 << 16
_ERROR_BYTES_MAX: Final = 1 << 16


class Event(NamedTuple):
    """An event, or an error that ends the stream: then `kind` is its code."""

    is_error: bool
    kind: str
    payload: bytes


class EventStream:
    """One such response. Not safe for several threads. Every method raises OSError when the connection breaks."""

    def __init__(self, url: str, headers: dict[str, str], body: bytes, certificates: str, timeout_s: float) -> None:
        """Send the request, and read the head of the response: `status` is then known."""
        parts = urlsplit(url)
        is_secure = parts.scheme == "https"
        host = parts.hostname or ""
        self._socket = socket.create_connection((host, parts.port or (443 if is_secure else 80)), timeout_s)
        self._bytes = b""
        self._events = EventStreamBuffer()
        self.is_over = False
        try:
            if is_secure:
                context = ssl.create_default_context(cafile=certificates)
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
            lines = [f"POST {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() != "host"]
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            self._read_head(time.monotonic() + timeout_s)
        except BaseException:
            self.close()
            raise

    def _read_head(self, deadline_s: float) -> None:
        while b"\r\n\r\n" not in self._bytes:
            if time.monotonic() > deadline_s or len(self._bytes) > _HEAD_BYTES_MAX:
                raise TimeoutError("no whole head of a response in time")
            self._receive(required=True)
        head, _, self._bytes = self._bytes.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        try:
            self.status = int(first.split()[1])
        except (IndexError, ValueError):
            raise ConnectionError("the response is not HTTP") from None
        fields = (line.partition(":") for line in lines)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        self._is_chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"

    def error_body(self) -> bytes:
        """Return the body of a response that is no stream of events."""
        length = min(int(self.headers.get("content-length", "0")), _ERROR_BYTES_MAX)
        with contextlib.suppress(OSError):
            while len(self._bytes) < length and not self.is_over:
                self._receive(required=True)
        return self._bytes[:length]

    def take(self) -> Event | None:
        """Return the next event if it has arrived. Raises ConnectionError for what is none."""
        while True:
            try:
                message = next(self._events, None)
            except ParserError as error:
                raise ConnectionError(f"a frame is broken: {error}") from error
            if message is not None:
                kind = message.headers.get(":exception-type") or message.headers.get(":error-code")
                if kind is not None:
                    return Event(True, str(kind), message.payload)
                return Event(False, str(message.headers.get(":event-type", "")), message.payload)
            if self._feed():
                continue
            if self.is_over or not self._receive(required=False):
                return None

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _feed(self) -> bool:
        """Hand what was received on to the frames, without the marks of its chunks; return whether that was any."""
        if not self._is_chunked:
            found, self._bytes = self._bytes, b""
        else:
            line, end, rest = self._bytes.partition(b"\r\n")
            if not end:
                return False
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise ConnectionError("a chunk has no size") from None
            if size == 0:
                self.is_over = True
                return False
            if len(rest) < size + 2:
                return False
            found, self._bytes = rest[:size], rest[size + 2 :]
        if found:
            self._events.add_data(found)
        return bool(found)

    def _receive(self, *, required: bool) -> bool:
        """Take what has arrived, or wait for it if it is `required`; return whether there was any."""
        if not required:
            self._socket.setblocking(False)
        try:
            received = self._socket.recv(_RECEIVED_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        if not received:
            self.is_over = True
            if required:
                raise ConnectionError("the connection was closed")
            return False
        self._bytes += received
        return True
