"""A simulator that only hands out ready-made pages, in a process of its own, lean so that it is no bottleneck.

It is DynamoDB with its streams, and a stream of Kinesis with the same changes.

An iterator names shard and record, so the server remembers nothing of its readers. Every shard holds the same records:
all there from the beginning, or one more every 1/rate seconds since `start_s`.
"""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks import pages

TABLE: Final = "orders"
STREAM_ARN: Final = f"arn:aws:dynamodb:us-east-1:123456789012:table/{TABLE}/stream/2026-01-01T00:00:00.000"
LOG: Final = "bench"
LOG_ARN: Final = f"arn:aws:kinesis:us-east-1:123456789012:stream/{LOG}"
_SHARDS_PER_ANSWER: Final = 100
_PAGES_KEPT: Final = 32
_FIRST_ITEM: Final = 10**15
"""Index of the table's first item: larger than those of all changes."""


@dataclass(frozen=True)
class Stream:
    """What the server has: `records` in each of the shards, or with a `rate_per_s` one after the other."""

    shards: int = 1
    item_bytes: int = pages.USUAL_SIZE
    records: int = 1 << 60
    rate_per_s: float | None = None
    """Changes a second of each shard."""
    start_s: float = 0.0
    items: int = 1 << 60
    """Items of the table, which a scan reads; no change is of one of them."""
    scan_s: float = 0.0
    """How long a page of a scan takes at least."""

    def shard_ids(self) -> list[str]:
        """Name the shards."""
        return [f"shardId-{number:020}-{zlib.crc32(b'%d' % number):08x}" for number in range(self.shards)]

    def available(self, now_s: float) -> int:
        """Return how many records each shard has by now."""
        if self.rate_per_s is None:
            return self.records
        return min(self.records, max(0, int((now_s - self.start_s) * self.rate_per_s) + 1))

    def written_s(self, index: int) -> float:
        """Return when record `index` of each shard was written, seconds since the epoch."""
        assert self.rate_per_s is not None
        return self.start_s + index / self.rate_per_s


class PageServer:
    """The server's process; a context manager."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.page_server", json.dumps(asdict(stream))],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.endpoint_url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


class _Answers:
    """Answers the operations that a reader calls."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._shards = [
            {"ShardId": shard, "SequenceNumberRange": {"StartingSequenceNumber": "1"}} for shard in stream.shard_ids()
        ]
        self._pages: OrderedDict[tuple[bool, int, int, int], tuple[bytes, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "DescribeTable": self._describe_table,
            "DescribeStream": self._describe_stream,
            "GetShardIterator": self._iterator,
            "DescribeStreamSummary": self._describe_log,
            "ListShards": self._list_shards,
        }

    def answer(self, target: str, request: dict[str, Any]) -> tuple[list[bytes], int]:
        """Return the pieces of an answer's body and their CRC-32; `target` names the service and the operation."""
        service, _, operation = target.rpartition(".")
        if operation == "GetRecords":
            return self._records(request, is_log=service.startswith("Kinesis"))
        if operation == "Scan":
            return self._scanned(request)
        body = json.dumps(self._operations[operation](request)).encode()
        return [body], zlib.crc32(body)

    def _describe_table(self, request: dict[str, Any]) -> dict[str, Any]:
        specification = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        table = {
            "TableName": request["TableName"],
            "TableArn": STREAM_ARN.partition("/stream/")[0],
            "TableStatus": "ACTIVE",
            "LatestStreamArn": STREAM_ARN,
            "KeySchema": [
                {"AttributeName": name, "KeyType": kind} for name, kind in (("id", "HASH"), ("line", "RANGE"))
            ],
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": kind} for name, kind in (("id", "S"), ("line", "N"))
            ],
            "ItemCount": self._stream.items,
            "TableSizeBytes": self._stream.items * self._stream.item_bytes,
        }
        return {"Table": table | {"StreamSpecification": specification}}

    def _describe_stream(self, request: dict[str, Any]) -> dict[str, Any]:
        description = {
            "StreamArn": STREAM_ARN,
            "StreamStatus": "ENABLED",
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            "CreationRequestDateTime": 1_700_000_000.0,
        }
        if "ShardFilter" in request:
            return {"StreamDescription": description | {"Shards": []}}
        last = request.get("ExclusiveStartShardId", "")
        shards = [shard for shard in self._shards if str(shard["ShardId"]) > last]
        shown = shards[:_SHARDS_PER_ANSWER]
        more = {"LastEvaluatedShardId": shown[-1]["ShardId"]} if len(shards) > len(shown) else {}
        return {"StreamDescription": description | {"Shards": shown} | more}

    def _describe_log(self, _request: dict[str, Any]) -> dict[str, Any]:
        summary = {
            "StreamName": LOG,
            "StreamARN": LOG_ARN,
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_700_000_000.0,
        }
        return {"StreamDescriptionSummary": summary}

    def _list_shards(self, request: dict[str, Any]) -> dict[str, Any]:
        last = request.get("ExclusiveStartShardId", "")
        return {"Shards": [shard for shard in self._shards if str(shard["ShardId"]) > last]}

    def _iterator(self, request: dict[str, Any]) -> dict[str, Any]:
        after, at = request.get("SequenceNumber"), request.get("StartingSequenceNumber")
        first = pages.log_index(at) if at is not None else 0 if after is None else int(after) + 1
        return {"ShardIterator": f"{request['ShardId']}/{first}"}

    def _records(self, request: dict[str, Any], *, is_log: bool) -> tuple[list[bytes], int]:
        shard, _, position = request["ShardIterator"].rpartition("/")
        now_s = time.time()
        first = int(position)
        available = max(0, self._stream.available(now_s) - first)
        count = min(available, pages.records_per_page(self._stream.item_bytes), request["Limit"])
        body, crc = self._page(first, count, int(now_s), is_log=is_log)
        behind = b',"MillisBehindLatest":%d' % (1_000 * (count < available)) if is_log else b""
        tail = b']%b,"NextShardIterator":"%b/%d"}' % (behind, shard.encode(), first + count)
        return [body, tail], zlib.crc32(tail, crc)

    def _scanned(self, request: dict[str, Any]) -> tuple[list[bytes], int]:
        """Answer with the next items of a segment, behind the start key."""
        time.sleep(self._stream.scan_s)
        size, segment, segments = self._stream.item_bytes, request.get("Segment", 0), request.get("TotalSegments", 1)
        start = request.get("ExclusiveStartKey")
        first = int(start["id"]["S"].removeprefix("order-")) + 1 if start else self._begin(segment, segments)
        count = min(pages.items_per_page(size), self._begin(segment + 1, segments) - first)
        body = pages.scanned(size, first, count, is_last=first + count == self._begin(segment + 1, segments))
        return [body], zlib.crc32(body)

    def _begin(self, segment: int, segments: int) -> int:
        """Return the index of the first item of a segment."""
        return _FIRST_ITEM + self._stream.items * segment // segments

    def _page(self, first: int, count: int, now_s: int, *, is_log: bool) -> tuple[bytes, int]:
        """Return all of a page but its iterator. Shards are read in step, so the next one asks for the same."""
        key = is_log, first, count, now_s if self._stream.rate_per_s else 0
        with self._lock:
            if (kept := self._pages.get(key)) is not None:
                return kept
        if is_log:
            records = pages.log_records(self._stream.item_bytes, first, count, now_s * 1_000)
        else:
            records = pages.records(self._stream.item_bytes, first, count, now_s)
        body = b'{"Records":[' + records
        made = body, zlib.crc32(body)
        with self._lock:
            self._pages[key] = made
            if len(self._pages) > _PAGES_KEPT:
                self._pages.popitem(last=False)
        return made


class _Handler(socketserver.StreamRequestHandler):
    """One kept-alive connection."""

    server: _Server
    disable_nagle_algorithm = True
    wbufsize = 0

    def handle(self) -> None:
        while self.rfile.readline():
            target = ""
            length = 0
            while (line := self.rfile.readline().rstrip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"x-amz-target":
                    target = value.strip().decode()
                elif name.lower() == b"content-length":
                    length = int(value)
            parts, crc = self.server.answers.answer(target, json.loads(self.rfile.read(length)))
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nx-amz-crc32: %d\r\n"
                b"Content-Length: %d\r\n\r\n" % (crc, sum(map(len, parts)))
            )
            self.request.sendall(b"".join([head, *parts]))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, stream: Stream) -> None:
        self.answers = _Answers(stream)
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: a reader that was stopped leaves its connection broken."""


def _serve_until_stdin_ends() -> None:
    server = _Server(Stream(**json.loads(sys.argv[1])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _serve_until_stdin_ends()
