"""A lean client for AWS's JSON protocol: botocore signs, urllib3 sends, the caller parses.

boto3's own client spends most of its time parsing answers into Python objects that nobody needs here.
Sources: https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html (and aws-json-1_1-protocol.html) and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html (x-amz-crc32)
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Timeout
from urllib3.exceptions import HTTPError

from tailrace._version import __version__
from tailrace.aws.errors import (
    PROXY_WANTS_PASSWORD,
    Subject,
    TooLargeError,
    broken,
    refused,
    refused_by_proxy,
    unanswered,
)
from tailrace.aws.event_stream import EventStream
from tailrace.aws.service import Service
from tailrace.aws.session import AwsSession

Crc32 = Callable[[bytes], int]
"""Checks DynamoDB's `x-amz-crc32`."""
BODY_BYTES_MAX: Final = 32 << 20
"""What no answer of AWS reaches: 1 MB of items has, as JSON, some 15 MB at the most (a list of nulls)."""
_STREAM_TIMEOUT_S: Final = 10.0
"""How long a response that goes on may take to begin."""
_UNSIGNED_HEADERS: Final = {
    # The checksum is of the bytes on the wire, and unpacking costs more than a link within a region.
    "Accept-Encoding": "identity",
    "User-Agent": f"tailrace/{__version__}",
}


def open_pool(
    session: AwsSession, endpoint: str, *, connections: int, connect_timeout_s: float, read_timeout_s: float
) -> PoolManager:
    """Make the pool of kept-alive connections, through the proxy that the environment names for `endpoint`, if any.

    `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` count as for AWS's own tools, and so do a proxy's user and password.

    At most `connections` are open to a host; a further caller waits for one. Nothing is retried or redirected.
    """
    proxies = ProxyConfiguration(get_environ_proxies(endpoint))
    proxy = proxies.proxy_url_for(endpoint)
    open_manager = (
        partial(ProxyManager, proxy, proxy_headers=proxies.proxy_headers_for(proxy)) if proxy else PoolManager
    )
    return open_manager(
        maxsize=connections,
        block=True,
        timeout=Timeout(connect=connect_timeout_s, read=read_timeout_s),
        retries=False,
        ca_certs=session.certificates(),
    )


class AwsClient:
    """Calls the operations of one service. Safe to use from many threads at once."""

    def __init__(
        self, session: AwsSession, pool: PoolManager, endpoint: str, service: Service, crc32: Crc32 = zlib.crc32
    ) -> None:
        """Make a client of the service at the address `endpoint`; `crc32` checks the bodies of its answers."""
        self._session = session
        self._pool = pool
        self._url = endpoint if urlsplit(endpoint).path else f"{endpoint}/"
        self._host = urlsplit(endpoint).netloc
        self._proxy = pool.proxy._replace(auth=None).url if pool.proxy is not None else None
        self._service = service
        self._crc32 = crc32

    def call(self, operation: str, payload: bytes, subject: Subject) -> bytes:
        """Send one request, once, and return the body of its answer. Raises `ReadError` about `subject`."""
        headers = self._sign(operation, payload)
        try:
            answer, body = self._send(payload, headers)
        except (HTTPError, OSError, ValueError) as error:  # ValueError: a chunk of less than nothing
            raise unanswered(operation, subject, self._host, error, self._proxy) from error
        if len(body) > BODY_BYTES_MAX:
            raise TooLargeError(self._service, operation, subject, BODY_BYTES_MAX)
        if not self._is_whole(answer, body):
            raise broken(operation, subject, "its checksum (x-amz-crc32) is wrong")
        if answer.status != 200:
            if answer.status == PROXY_WANTS_PASSWORD and self._proxy is not None:
                raise refused_by_proxy(operation, subject, self._proxy)
            raise refused(self._service, operation, subject, status=answer.status, headers=answer.headers, body=body)
        return body

    def open_stream(self, operation: str, payload: bytes, subject: Subject) -> EventStream:
        """Send a request whose response goes on, directly: not through a proxy. Raises `ReadError` about `subject`."""
        headers = self._sign(operation, payload)
        try:
            stream = EventStream(self._url, headers, payload, self._session.certificates(), _STREAM_TIMEOUT_S)
        except OSError as error:
            raise unanswered(operation, subject, self._host, error) from error
        if stream.status == 200:
            return stream
        body = stream.error_body()
        stream.close()
        raise refused(self._service, operation, subject, status=stream.status, headers=stream.headers, body=body)

    def _send(self, payload: bytes, headers: dict[str, str]) -> tuple[BaseHTTPResponse, bytes]:
        """Return the answer and its body, unpacked; of a body that is too large only so much as shows it."""
        answer = self._pool.urlopen(
            "POST", self._url, body=payload, headers=headers, retries=False, redirect=False, preload_content=False
        )
        try:
            # Told how much to read, urllib3 copies the body twice on its way; so only where the answer does not say.
            size = None if "content-encoding" in answer.headers else answer.length_remaining
            is_stated = size is not None and size <= BODY_BYTES_MAX
            return answer, answer.read(None if is_stated else BODY_BYTES_MAX + 1)
        finally:
            # Read to its end, the connection is free already; else what is left must not be taken for the next answer.
            answer.close()
            answer.release_conn()

    def _sign(self, operation: str, payload: bytes) -> dict[str, str]:
        service = self._service
        request = AWSRequest(
            "POST",
            self._url,
            headers={
                "Content-Type": f"application/x-amz-json-{service.json_version}",
                "X-Amz-Target": f"{service.target}.{operation}",
            },
            data=payload,
        )
        SigV4Auth(self._session.credentials(), service.signing_name, self._session.region).add_auth(request)
        return dict(request.headers.items()) | _UNSIGNED_HEADERS

    def _is_whole(self, answer: BaseHTTPResponse, body: bytes) -> bool:
        """Check DynamoDB's checksum. It says nothing when there is none, or when a proxy packed the body."""
        checksum = answer.headers.get("x-amz-crc32")
        if checksum is None or "content-encoding" in answer.headers:
            return True
        return checksum == str(self._crc32(body))
