"""The simulator without its socket: requests and actions in, answers out. Pure: the time is passed in.

Not safe to use from many threads at once.
"""

from __future__ import annotations

import html
import random
import zlib
from collections import Counter
from typing import Any, Final, Literal

import msgspec

from tailrace_simulator import actions, iterators, requests
from tailrace_simulator.aws_error import AwsError
from tailrace_simulator.destination_operations import DestinationOperations
from tailrace_simulator.faults import (
    DESTINATION_OPERATIONS,
    KINESIS_OPERATIONS,
    OPERATIONS,
    STREAM_OPERATIONS,
    TAGGING_OPERATIONS,
    Decision,
    Fault,
    Faults,
    Told,
    target_of,
)
from tailrace_simulator.kinesis import KinesisService
from tailrace_simulator.kinesis.consumer_operations import Push, Subscription
from tailrace_simulator.kinesis.service import SHAPES as KINESIS_SHAPES
from tailrace_simulator.kinesis.service import merge_any
from tailrace_simulator.kinesis.streams import Stream as KinesisStream
from tailrace_simulator.refused import refusal_of
from tailrace_simulator.replication import Replication
from tailrace_simulator.settings import Settings
from tailrace_simulator.stream_operations import StreamOperations
from tailrace_simulator.streams import Shard, Stream
from tailrace_simulator.table_operations import TableOperations
from tailrace_simulator.tables import Database, Table
from tailrace_simulator.tag_operations import TAG_OPERATIONS, TagOperations

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
_TICK_MS: Final = 1000
_JSON: Final = "application/x-amz-json-1.0"
_KINESIS_JSON: Final = "application/x-amz-json-1.1"
_BY_TARGET: Final = {target_of(name): name for name in OPERATIONS}
SHAPES: Final[dict[str, type[requests.Request]]] = KINESIS_SHAPES | {
    name: getattr(requests, name) for name in OPERATIONS - KINESIS_OPERATIONS
}
_METHODS: Final = {name: requests.method_of(name) for name in OPERATIONS - KINESIS_OPERATIONS}


class Reply(msgspec.Struct, frozen=True):
    """What the server does with a request: an answer, and what happens to it on its way."""

    body: bytes = b""
    status: int = 200
    content_type: str = _JSON
    checksum: int | None = None
    """x-amz-crc32; None for an answer that is not DynamoDB's own."""
    delay_s: float = 0
    transport: Literal["reset", "hang", "cut short"] | None = None
    subscription: Subscription | None = None
    """What follows, message by message, instead of the body."""


class Simulator:
    """Tables, streams and faults. Times are milliseconds since the epoch, never going back.

    The clock that counts is the one that is passed in, plus what `advance` added.
    """

    def __init__(self, *, seed: int, script: actions.Script, now_ms: int) -> None:
        self.seed = seed
        self.settings = Settings()
        self.faults = Faults(seed)
        self.kinesis = KinesisService(region=REGION, account=ACCOUNT, seed=seed, settings=self.settings)
        self._replication = Replication(self.kinesis.account, self.faults, self.settings, region=REGION, seed=seed)
        self.database = Database(
            region=REGION, account=ACCOUNT, seed=seed, settings=self.settings, replication=self._replication
        )
        self.calls: Counter[str] = Counter()
        self.released = 0
        """How often the calls that hang were let go."""
        self._random = random.Random(f"{seed}/actions")
        self._tables = TableOperations(self.database)
        self._streams = StreamOperations(self.database, self.settings)
        self._tags = TagOperations(self.database, self.settings)
        self._destinations = DestinationOperations(self.database, self.kinesis.account)
        self._started_ms = now_ms
        self._advanced_ms = 0
        self._ticked_ms = now_ms
        self._steps = list(script.script)
        self._steps_failed: list[str] = []
        self._change(script.settings)
        self.faults.rates = script.rates

    def handle(self, target: str, body: bytes, now_ms: int, *, signed: bool = True) -> Reply:
        """Answer one request; `target` is its X-Amz-Target."""
        now_ms += self._advanced_ms
        operation = _BY_TARGET.get(target, "")
        is_off = operation in TAGGING_OPERATIONS and not self.settings.tagging_api
        if not operation or is_off:
            return _refusal(AwsError("UnknownOperationException", f"The simulator does not know {target!r}"), operation)
        if not signed:
            error = AwsError("MissingAuthenticationTokenException", "Request is missing Authentication Token")
            return _refusal(error, operation)
        self.calls[operation] += 1
        self._tick(now_ms)
        self._run_script(operation, now_ms - self._advanced_ms)
        try:
            request = requests.parse(body, SHAPES[operation])
        except AwsError as error:
            return _refusal(error, operation)
        table, subject = self._subject(operation, request)
        decision = self.faults.decide(operation, table, subject)
        return self._reply(operation, request, table, decision, now_ms)

    def push(self, subscription: Subscription, now_ms: int) -> Push:
        """Return what a subscription's client is sent now."""
        now_ms += self._advanced_ms
        self._tick(now_ms)
        return self.kinesis.push(subscription, now_ms)

    def act(self, action: actions.Action, now_ms: int) -> dict[str, Any]:
        """Carry out an action and give what became of it. Raises `AwsError` for what cannot be."""
        now_ms += self._advanced_ms
        match action:
            case actions.Split(stream=str(name)):
                return self._split_kinesis(name, action, now_ms)
            case actions.Merge():
                return self._merge(action, now_ms)
            case actions.Split(table=str(name)) | actions.Rollover(table=name):
                stream = self._stream_of(name)
                shard = self._chosen(stream, action.shard)
                children = (
                    stream.split(shard, action.at, now_ms)
                    if isinstance(action, actions.Split)
                    else stream.roll_over(shard, now_ms)
                )
                return {"parent": shard.shard_id, "children": [child.shard_id for child in children]}
            case actions.Trim():
                self._trim(action, now_ms)
            case actions.Advance():
                self._advance(action.seconds, now_ms)
            case actions.Expire():
                return {"deleted": self.database.table(action.table).expire(now_ms)}
            case actions.Switch():
                return self._switch(action, now_ms)
            case actions.Fail():
                self.faults.tell(Told(action.operation, action.fault, action.times, action.table))
            case actions.Faults():
                self.faults.rates = action.rates
            case actions.Change():
                self._change(action.settings)
            case actions.Release():
                self.released += 1
        return {}

    def state(self, now_ms: int) -> dict[str, Any]:
        """Return how everything stands, to look at and to compare."""
        return {
            "seed": self.seed,
            "now_ms": now_ms + self._advanced_ms,
            "settings": msgspec.structs.asdict(self.settings),
            "rates": self.faults.rates,
            "calls": dict(sorted(self.calls.items())),
            "faults": {f"{operation} {fault}": n for (operation, fault), n in sorted(self.faults.counts.items())},
            "steps_left": len(self._steps),
            "steps_failed": self._steps_failed,
            "tables": {name: _table_state(table) for name, table in sorted(self.database.tables.items())},
            "streams": {arn: _stream_state(stream) for arn, stream in sorted(self.database.streams.items())},
            "kinesis": self.kinesis.state(now_ms + self._advanced_ms),
            "failed_to_replicate": dict(sorted(self._replication.failed.items())),
            "overtaken": dict(sorted(self._replication.overtaken.items())),
        }

    def _reply(self, operation: str, request: requests.Request, table: str, decision: Decision, now_ms: int) -> Reply:
        faults = decision.faults
        if Fault.HANG in faults:
            return Reply(transport="hang")
        if Fault.RESET in faults:
            return Reply(transport="reset")
        if Fault.UNAVAILABLE in faults:
            page = f"<html><body><h1>503</h1>{html.escape(operation)}</body></html>"
            return Reply(page.encode(), 503, "text/html")
        if refusal := refusal_of(operation, decision):
            return _refusal(refusal, operation)
        self._reshard(table, decision, now_ms)
        try:
            reply = _answer(self._carry_out(operation, request, decision, now_ms), operation)
        except AwsError as error:
            reply = _refusal(error, operation)
        if Fault.LOST in faults:
            return Reply(transport="reset")
        delay_s = self.settings.slow_s if Fault.SLOW in faults else 0
        body = reply.body
        if Fault.GARBLED in faults and body:
            place = decision.random.randrange(len(body))
            body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        transport: Literal["cut short"] | None = "cut short" if Fault.CUT_SHORT in faults else None
        return msgspec.structs.replace(reply, body=body, delay_s=delay_s, transport=transport)

    def _carry_out(
        self, operation: str, request: requests.Request, decision: Decision, now_ms: int
    ) -> dict[str, Any] | bytes | Subscription:
        if operation in KINESIS_OPERATIONS:
            return self.kinesis.carry_out(operation, request, now_ms, decision)
        match request:
            case requests.GetRecords():
                return self._streams.get_records(request, now_ms, decision)
            case requests.DescribeStream():
                return self._streams.describe_stream(request, now_ms, decision)
            case requests.BatchGetItem():
                return self._tables.batch_get_item(request, now_ms, decision)
        of: object = self._streams if operation in STREAM_OPERATIONS else self._tables
        if operation in TAG_OPERATIONS:
            of = self._tags
        elif operation in DESTINATION_OPERATIONS:
            of = self._destinations
        answer: dict[str, Any] = getattr(of, _METHODS[operation])(request, now_ms)
        return answer

    def _reshard(self, name: str, decision: Decision, now_ms: int) -> None:
        """Split or roll over a shard of a table's stream before a write, if that was drawn."""
        table = self.database.tables.get(name)
        if table is None or table.stream is None:
            return
        stream, rng = table.stream, decision.random
        divisible = [shard for shard in stream.open_shards if shard.is_divisible]
        if Fault.SPLIT in decision.faults and divisible:
            stream.split(rng.choice(divisible), rng.random(), now_ms)
        if Fault.ROLLOVER in decision.faults:
            stream.roll_over(rng.choice(stream.open_shards), now_ms)

    def _subject(self, operation: str, request: requests.Request) -> tuple[str, str]:
        """Return the table or Kinesis stream of a request, and its subject: what its calls are counted by."""
        if operation in KINESIS_OPERATIONS:
            return self.kinesis.subject(request)
        match request:
            case requests.GetRecords():
                try:
                    iterator = iterators.decode(request.shard_iterator)
                except AwsError:
                    return "", ""
                return self._subject_of_shard(iterator.stream_arn, iterator.shard_id)
            case requests.GetShardIterator():
                return self._subject_of_shard(request.stream_arn, request.shard_id)
            case requests.DescribeStream():
                return self._subject_of_shard(request.stream_arn, "")
            case requests.BatchWriteItem() | requests.BatchGetItem():
                table = next(iter(request.request_items), "")
            case requests.TagResource() | requests.UntagResource() | requests.ListTagsOfResource():
                table = request.resource_arn.rpartition("/")[2]
            case _:
                table = getattr(request, "table_name", None) or ""
        return table, table

    def _subject_of_shard(self, stream_arn: str, shard_id: str) -> tuple[str, str]:
        stream = self.database.streams.get(stream_arn)
        if stream is None:
            return "", ""
        shard = stream.shards.get(shard_id)
        return stream.table, f"{stream.table}/{shard.ordinal}" if shard else stream.table

    def _tick(self, now_ms: int) -> None:
        self._replication.deliver(now_ms)
        if now_ms - self._ticked_ms >= _TICK_MS:
            self._ticked_ms = now_ms
            self.database.tick(now_ms)
            self.kinesis.account.tick(now_ms)

    def _run_script(self, operation: str, now_ms: int) -> None:
        """Carry out the steps that are due at this call."""
        due = [step for step in self._steps if self._is_due(step.when, operation, now_ms + self._advanced_ms)]
        if due:
            self._steps = [step for step in self._steps if step not in due]
            for step in due:
                try:
                    self.act(step.do, now_ms)
                except AwsError as error:
                    self._steps_failed.append(error.message)

    def _is_due(self, when: actions.When, operation: str, now_ms: int) -> bool:
        tables = self.database.tables
        writes = sum(table.writes for name, table in tables.items() if when.table in {None, name})
        calls = self.calls.total() if when.operation is None else self.calls[when.operation]
        return (
            now_ms - self._started_ms >= when.seconds * 1000
            and writes >= when.writes
            and calls >= when.calls
            and (when.operation in {None, operation})
            and (when.table is None or when.table in tables)
        )

    def _stream_of(self, name: str) -> Stream:
        stream = self.database.table(name).stream
        if stream is None:
            raise AwsError("InvalidAction", f"table {name} has no stream")
        return stream

    def _chosen(self, stream: Stream, shard_id: str | None) -> Shard:
        if shard_id is None:
            return self._random.choice(stream.open_shards)
        shard = stream.shard(shard_id)
        if not shard.is_open:
            raise AwsError("InvalidAction", f"shard {shard_id} is closed")
        return shard

    def _kinesis_stream(self, name: str) -> KinesisStream:
        return self.kinesis.account.stream(name, None)

    def _split_kinesis(self, name: str, action: actions.Split, now_ms: int) -> dict[str, Any]:
        stream = self._kinesis_stream(name)
        shard = stream.shard(action.shard) if action.shard else self._random.choice(stream.open_shards)
        width = shard.high - shard.low + 1
        at = shard.low + min(max(round(width * action.at), 1), width - 1)
        children = stream.split(shard, at, now_ms)
        return {"parent": shard.shard_id, "children": [child.shard_id for child in children]}

    def _merge(self, action: actions.Merge, now_ms: int) -> dict[str, Any]:
        stream = self._kinesis_stream(action.stream)
        parents = merge_any(stream, stream.shard(action.shard) if action.shard else None, self._random, now_ms)
        if not parents:
            raise AwsError("InvalidAction", f"stream {stream.name} has one shard, and nothing to merge it with")
        return {"parents": [each.shard_id for each in parents], "child": parents[0].children[0].shard_id}

    def _trim_kinesis(self, name: str, shard_id: str | None, horizon_ms: int) -> None:
        stream = self._kinesis_stream(name)
        stream.trim(horizon_ms, [stream.shard(shard_id)] if shard_id else None)

    def _trim(self, action: actions.Trim, now_ms: int) -> None:
        horizon_ms = now_ms - round(action.older_than_s * 1000) + (action.older_than_s == 0)
        if action.stream is not None:
            self._trim_kinesis(action.stream, action.shard, horizon_ms)
            return
        streams = [stream for stream in self.database.streams.values() if stream.table == action.table]
        if action.shard is None:
            for stream in streams:
                stream.trim(horizon_ms)
            self.database.forget_streams(horizon_ms, action.table)
            return
        found = [(stream, stream.shards[action.shard]) for stream in streams if action.shard in stream.shards]
        for stream, shard in found:
            stream.trim(horizon_ms, [shard])
        if not found:
            raise AwsError("InvalidAction", f"table {action.table} has no shard {action.shard}")

    def _advance(self, seconds: float, now_ms: int) -> None:
        if seconds < 0:
            raise AwsError("InvalidAction", "the clock cannot be turned back")
        added_ms = round(seconds * 1000)
        self._advanced_ms += added_ms
        self._tick(now_ms + added_ms)

    def _switch(self, action: actions.Switch, now_ms: int) -> dict[str, Any]:
        table = self.database.table(action.table)
        if (action.view_type is None) is (table.stream is None):
            state = "off" if table.stream is None else "on"
            raise AwsError("InvalidAction", f"the stream of table {table.name} is {state} already")
        if action.view_type is None:
            self.database.switch_off(table, now_ms)
            return {}
        return {"stream_arn": self.database.switch_on(table, action.view_type, now_ms).arn}

    def _change(self, changes: dict[str, int | float]) -> None:
        for name, value in changes.items():
            setattr(self.settings, name, value)


def _answer(answer: dict[str, Any] | bytes | Subscription, operation: str) -> Reply:
    if isinstance(answer, Subscription):
        return Reply(subscription=answer)
    body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
    return _whole(body, 200, operation)


def _refusal(error: AwsError, operation: str) -> Reply:
    return _whole(error.body(is_dynamodb=operation not in KINESIS_OPERATIONS), error.status, operation)


def _whole(body: bytes, status: int, operation: str) -> Reply:
    if operation in KINESIS_OPERATIONS:
        return Reply(body, status, _KINESIS_JSON)
    return Reply(body, status, checksum=zlib.crc32(body))


def _table_state(table: Table) -> dict[str, Any]:
    stream = table.stream and table.stream.arn
    counts = {"items": table.count(), "writes": table.writes}
    return counts | {"stream_arn": stream, "ttl_attribute": table.ttl_attribute, "tags": table.tags}


def _stream_state(stream: Stream) -> dict[str, Any]:
    return {
        "table": stream.table,
        "view_type": stream.view_type,
        "enabled": stream.disabled_ms is None,
        "shards": {shard.shard_id: _shard_state(shard) for shard in stream.shards.values()},
    }


def _shard_state(shard: Shard) -> dict[str, Any]:
    return {
        "parent": shard.parent_id,
        "hashes": [shard.low, shard.high],
        "starting": str(shard.starting),
        "ending": None if shard.ending is None else str(shard.ending),
        "trimmed_through": str(shard.trimmed_through),
        "records": len(shard.sequences),
    }
