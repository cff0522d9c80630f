"""Tailrace's own source reads the simulator: every change once, each item's in order, through whatever goes wrong."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict

import msgspec
import pytest
from urllib3 import HTTPConnectionPool

from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.core.checkpoint import Checkpoint, CheckpointKey
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.discovery import reconcile
from tailrace.core.ports import ReadError, ReadFailure, StreamListing
from tailrace.core.shard import Position, ShardRef, lane_of
from tailrace.sources.dynamodb.policy import POLICY
from tailrace.sources.dynamodb.streams import DynamoDBStreams
from tailrace_simulator import SimulatedDynamoDB
from tailrace_simulator.actions import Script, parse_script

TABLE = "orders"
ITEMS = 40
CHANGES = 1500
TIMEOUT_S = 60
FAULTS = {
    "settings": {
        "shards": 2,
        "listing_lag_calls": 3,
        "skew_s": 3,
        "digit_every": 40,
        "describe_stream_per_second": 40,
        "page_bytes": 20_000,
        "slow_s": 0.05,
    },
    "rates": {
        "DescribeStream": {"hole": 0.3, "throttle": 0.1, "server_error": 0.05, "reset": 0.05},
        "GetShardIterator": {"throttle": 0.05, "server_error": 0.05, "lost": 0.05, "unavailable": 0.05},
        "GetRecords": {
            "empty": 0.2,
            "short": 0.2,
            "late_end": 0.5,
            "throttle": 0.05,
            "expired": 0.05,
            "server_error": 0.03,
            "reset": 0.03,
            "cut_short": 0.03,
            "garbled": 0.03,
            "slow": 0.05,
            "hang": 0.003,
        },
        "PutItem": {"split": 0.004, "rollover": 0.008},
    },
}


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")
    monkeypatch.setenv("NO_PROXY", "*")


class Writer:
    """Writes numbered versions of some items, one after another."""

    def __init__(self, simulated: SimulatedDynamoDB, seed: int) -> None:
        self._pool = HTTPConnectionPool("127.0.0.1", simulated.port, retries=False)
        self._random = random.Random(seed)
        self.versions: Counter[str] = Counter()

    def create(self) -> str:
        answer = self._post(
            "CreateTable",
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )
        return str(msgspec.json.decode(answer)["TableDescription"]["LatestStreamArn"])

    def write(self, count: int) -> None:
        for _ in range(count):
            item_id = f"item-{self._random.randrange(ITEMS)}"
            self.versions[item_id] += 1
            self._post("PutItem", TableName=TABLE, Item={"id": {"S": item_id}, "v": {"N": f"{self.versions[item_id]}"}})

    def close(self) -> None:
        self._pool.close()

    def _post(self, operation: str, **fields: object) -> bytes:
        headers = {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Authorization": "AWS4-HMAC-SHA256 unchecked"}
        answer = self._pool.urlopen("POST", "/", body=msgspec.json.encode(fields), headers=headers)
        assert answer.status == 200, answer.data
        return answer.data


class Reader:
    """What a worker does, in one thread: list, publish, read parents before children, remember how far."""

    def __init__(self, source: DynamoDBStreams, stream_arn: str) -> None:
        self.failures: Counter[ReadFailure] = Counter()
        self.versions: dict[str, list[int]] = defaultdict(list)
        self.checkpoint_state = CheckpointState(1)
        self._source = source
        self._arn = stream_arn
        self._gone: set[ShardRef] = set()
        self._positions: dict[ShardRef, Position] = {}
        self._iterators: dict[ShardRef, str | None] = {}

    def round(self) -> None:
        """List once, then read a page of every shard that may be read."""
        try:
            self._list()
        except ReadError as error:
            self._note(error)
        for shard in list(self.checkpoint_state.shards):
            if self.checkpoint_state.may_begin(shard) and not self.checkpoint_state.ended(shard):
                try:
                    self._read(shard)
                except ReadError as error:
                    self._note(error)
                    if error.failure is ReadFailure.EXPIRED:
                        self._iterators[shard] = None

    def count(self) -> int:
        return sum(map(len, self.versions.values()))

    def _list(self, listing: StreamListing | None = None) -> None:
        whole = listing is None
        listing = listing or self._source.shards(self._arn)
        for _ in range(2):
            found = reconcile(
                self.checkpoint_state,
                TABLE,
                listing,
                whole=whole,
                current=True,
                start="TRIM_HORIZON",
                gone=self._gone,
                now_ms=0,
                source=POLICY,
            )
            for write in found.writes:
                self.checkpoint_state.apply(write.partition, write.key, write.record)
            self._gone |= {shard for shard in found.unknown if not self._source.exists(shard)}

    def _read(self, shard: ShardRef) -> None:
        position = self._positions.get(shard, Position("TRIM_HORIZON"))
        page = self._source.read(shard, position, self._iterators.get(shard))
        for record in page.records:
            change = record.change
            assert change, record.error
            assert change.after
            item = msgspec.json.decode(change.after)
            self.versions[item["id"]["S"]].append(int(item["v"]["N"]))
        if page.records:
            self._positions[shard] = Position("AFTER_SEQUENCE_NUMBER", page.records[-1].origin.sequence)
        self._iterators[shard] = page.next_iterator
        if page.next_iterator is None:
            self._end(shard)

    def _end(self, shard: ShardRef) -> None:
        ended = Checkpoint(table=TABLE, state="ended", sequence=None, created_ms=None, at_ms=0)
        self.checkpoint_state.apply(lane_of(shard, 1), CheckpointKey(*shard), ended)
        children = self._source.children(shard)
        self._list(StreamListing(self._arn, 0, children))

    def _note(self, error: ReadError) -> None:
        assert error.failure not in {ReadFailure.GONE, ReadFailure.TRIMMED, ReadFailure.DENIED}, error
        self.failures[error.failure] += 1


def read_history(seed: int, script: Script) -> tuple[Writer, Reader, SimulatedDynamoDB]:
    """Write and read at the same time, until all is read."""
    with SimulatedDynamoDB(seed=seed, script=script) as simulated:
        session = AwsSession(AwsSettings(region="us-east-1", endpoint_url=simulated.endpoint_url))
        source = DynamoDBStreams(session, read_timeout_s=0.3, describe_stream_per_second=1000)
        writer = Writer(simulated, seed)
        reader = Reader(source, writer.create())
        writing = threading.Thread(target=writer.write, args=(CHANGES,))
        writing.start()
        until_s = time.monotonic() + TIMEOUT_S
        while reader.count() < CHANGES and time.monotonic() < until_s:
            reader.round()
        writing.join()
        source.close()
        writer.close()
    return writer, reader, simulated


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("aws_keys")
def test_every_change_is_read_once_and_in_the_order_of_its_item(seed: int) -> None:
    writer, reader, simulated = read_history(seed, parse_script(FAULTS))
    assert reader.versions == {item: list(range(1, last + 1)) for item, last in writer.versions.items()}
    (stream,) = simulated.state()["streams"].values()
    assert len(stream["shards"]) > 10
    assert {ReadFailure.EXPIRED, ReadFailure.THROTTLED, ReadFailure.UNAVAILABLE} == set(reader.failures)
    assert len(simulated.state()["faults"]) >= 15
