"""A folder served as a bucket of S3: listings, whole objects and ranges, and answers that break off.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html and
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class S3Server:
    """One bucket, `bucket`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.breaks_after: list[int] = []
        """The next answers with an object end early, after so many bytes each."""
        self.replaced: dict[str, bytes] = {}
        """What objects hold once an answer has ended early."""
        self.denied = False
        self.ranges: list[str] = []
        """What was asked for in part."""
        self.keys_per_page = 2

        class Handler(_Handler):
            server_of = self

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of: S3Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        if self.server_of.denied:
            self._refuse(403, "AccessDenied")
        elif bucket != "bucket":
            self._refuse(404, "NoSuchBucket")
        elif not key:
            self._list({name: values[0] for name, values in parse_qs(url.query).items()})
        elif (self.server_of.folder / key).is_file():
            self._object((self.server_of.folder / key).read_bytes())
        else:
            self._refuse(404, "NoSuchKey")

    def _list(self, query: dict[str, str]) -> None:
        prefix, start = query.get("prefix", ""), query.get("continuation-token", "")
        files = (path for path in self.server_of.folder.rglob("*") if path.is_file())
        sizes = {path.relative_to(self.server_of.folder).as_posix(): path.stat().st_size for path in files}
        entries: dict[str, str] = {}
        for key, size in sizes.items():
            if key.startswith(prefix):
                head, delimiter, _ = key.removeprefix(prefix).partition("/")
                name = prefix + head + delimiter
                tag = "CommonPrefixes" if delimiter else "Contents"
                inner = (
                    f"<Prefix>{escape(name)}</Prefix>" if delimiter else f"<Key>{escape(name)}</Key><Size>{size}</Size>"
                )
                entries[name] = f"<{tag}>{inner}</{tag}>"
        after = [name for name in sorted(entries) if name > start]
        page = after[: self.server_of.keys_per_page]
        more = "<IsTruncated>false</IsTruncated>"
        if len(page) < len(after):
            more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{escape(page[-1])}</NextContinuationToken>"
        content = "".join(entries[name] for name in page)
        self._send(200, f"<ListBucketResult>{more}{content}</ListBucketResult>".encode())

    def _object(self, content: bytes) -> None:
        etag, part, status = f'"{hashlib.md5(content).hexdigest()}"', self.headers.get("Range", ""), 200
        if self.headers.get("If-Match", etag) != etag:
            self._refuse(412, "PreconditionFailed")
            return
        if part:
            self.server_of.ranges.append(part)
            start = int(part.removeprefix("bytes=").rstrip("-"))
            content, status = content[start:], 206
        self._send(status, content, {"ETag": etag})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        is_object = headers is not None
        self.send_response(status)
        for name, value in (headers or {"Content-Type": "application/xml"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if is_object and self.server_of.breaks_after:
            self.wfile.write(content[: self.server_of.breaks_after.pop(0)])
            self.close_connection = True
            for key, replacement in self.server_of.replaced.items():
                (self.server_of.folder / key).write_bytes(replacement)
        else:
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode())

    def log_message(self, *_: Any) -> None:
        pass
