"""`tailrace lake` with present states on a real broker and a bad S3: killed, gone on with, read back by others."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message
from pyiceberg.catalog import load_catalog

from support.export_process import SinkProcess
from support.kafka_clients import TIMEOUT_S, create_topic, transactional_producer
from support.lake_tables import files_of_current, present_by_pyarrow, query
from support.names import unique
from support.pipeline_file import write_file
from support.publishing import create_checkpoint_topic, read_all
from support.s3_proxy import MISHAPS, S3Proxy
from support.seaweed import BUCKET, CREDENTIALS, REGION, Seaweed
from support.stream_changes import stream_change
from support.waiting import wait_for
from tailrace.config import load
from tailrace.core.change import Op
from tailrace.errors import WorldError
from tailrace.formats import make_format
from tailrace.local.kafka import KafkaBroker
from tailrace.operations.lake import LakeWriter
from tailrace.operations.status import read_status

PARTITIONS = 2
BEGIN_MS = 1_700_000_000_000
FORMAT = make_format("debezium", pipeline="shop", numbers="exact")
VALUES: tuple[tuple[bytes, Decimal | None, str | None], ...] = (
    (b'{"N":"5"}', Decimal(5), None),
    (b'{"N":"7.25"}', Decimal("7.25"), None),
    (b'{"N":"1%b"}' % (b"0" * 37), None, "1" + "0" * 37),
    (b'{"S":"seven"}', None, '"seven"'),
    (b'{"NULL":true}', None, None),
)
"""Of the attribute `n`: its DynamoDB form, and what stands in the columns `n` and `n__json`."""


class Items:
    """Changes few items in transactions, and remembers what they are then."""

    def __init__(self, kafka: KafkaBroker, topic: str) -> None:
        self.present: dict[str, tuple[int, Decimal | None, str | None]] = {}
        self.changes: set[tuple[int, int]] = set()
        """Partition and offset of each."""
        self._topic = topic
        self._random = Random(1)
        self._producer = transactional_producer(kafka.client_properties())
        self._written = 0

    def change(self, count: int) -> None:
        """Commit changes; the first ever has a number that fits."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            self.changes.add((message.partition() or 0, message.offset() or 0))

        self._producer.begin_transaction()
        for _ in range(count):
            record, partition = self._next()
            self._producer.produce(
                self._topic,
                record.value,
                record.key,
                partition=partition,
                timestamp=BEGIN_MS,
                on_delivery=delivered,
            )
        self._producer.commit_transaction(TIMEOUT_S)

    def _next(self) -> tuple[Any, int]:
        self._written += 1
        item = f"item-{self._random.randrange(30)}"
        form, number, text = VALUES[0 if self._written == 1 else self._random.randrange(len(VALUES))]
        image = b'{"id":{"S":"%b"},"v":{"N":"%d"},"n":%b}' % (item.encode(), self._written, form)
        is_delete = item in self.present and self._random.random() < 0.3
        op: Op = "d" if is_delete else "u" if item in self.present else "c"
        record = _record(b'{"id":{"S":"%b"}}' % item.encode(), image, op)
        if is_delete:
            del self.present[item]
        else:
            self.present[item] = (self._written, number, text)
        partition = hashlib.sha256(item.encode()).digest()[0] % PARTITIONS
        return record, partition


def _record(keys: bytes, image: bytes, op: Op = "c") -> Any:
    change = stream_change(op, keys, image, None if op == "d" else image, created_ms=BEGIN_MS)
    return FORMAT.encode(change, BEGIN_MS * 1_000_000)


class Lakes:
    """One pipeline's lakes, one in each format, and what others read in them."""

    def __init__(self, kafka: KafkaBroker, seaweed: Seaweed, folder: Path) -> None:
        self.name = unique("lake")
        self._kafka = kafka
        self._seaweed = seaweed
        self._folder = folder
        self._prefix = f"s3://{BUCKET}/{self.name}"
        self.catalog = {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db"}
        self.files = self.written(seaweed.endpoint_url)
        create_checkpoint_topic(load(self.files["delta"]).pipeline)
        self.topic = create_topic(kafka.client_properties(), f"{self.name}.orders", partitions=PARTITIONS)

    def written(self, endpoint_url: str) -> dict[str, Path]:
        """Write the file of each lake, with this way to the S3."""
        return {
            "iceberg": self._written(endpoint_url, format="iceberg", catalog=self.catalog),
            "delta": self._written(endpoint_url, format="delta"),
            "parquet": self._written(endpoint_url, format="parquet"),
        }

    def _written(self, endpoint_url: str, **lake: Any) -> Path:
        own = self._folder / unique(lake["format"])
        own.mkdir()
        section = {
            "location": f"{self._prefix}/{lake['format']}",
            "tables": ["changes", "current"],
            "partition_by": ["day(__ts)"],
            "file": {"age": "1s"},
            "current": {"lag": "1s"},
            "endpoint_url": endpoint_url,
            "region": REGION,
        }
        return write_file(own, self._kafka.client_properties(), self.name, lake=section | lake)

    def rows(self, kind: str, table: str, columns: str) -> list[tuple[Any, ...]]:
        """Return columns of a table; none before there is one."""
        first = ""
        if kind == "parquet" and table == "changes":
            source = f"read_parquet('{self._prefix}/parquet/**/*.parquet', union_by_name = true)"
        elif kind == "parquet":
            first = files_of_current(f"{self._prefix}/parquet", self.topic)
            source = "read_parquet(getvariable('files'), union_by_name = true)"
        elif kind == "delta":
            source = f"delta_scan('{self._prefix}/delta/orders_{table}')"
        else:
            properties = {
                "s3.endpoint": self._seaweed.endpoint_url,
                "s3.region": REGION,
                "s3.access-key-id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
                "s3.secret-access-key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            }
            found = load_catalog("tailrace", **self.catalog, **properties).load_table((self.name, f"orders_{table}"))
            source = f"iceberg_scan('{found.metadata_location}')"
        return query(self._seaweed, f"{first} SELECT {columns} FROM {source}")

    def by_pyarrow(self) -> list[Any]:
        """Return the ids of the present state in Parquet."""
        endpoint = self._seaweed.endpoint_url.removeprefix("http://")
        uri = f"{self._prefix}/parquet?endpoint_override={endpoint}&scheme=http&region={REGION}"
        ids: list[Any] = present_by_pyarrow(uri, self.topic).column("id").to_pylist()
        return ids


@pytest.fixture
def lakes(kafka: KafkaBroker, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakes:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return Lakes(kafka, seaweed, tmp_path)


def test_each_change_once_and_the_items_as_they_are(lakes: Lakes, kafka: KafkaBroker, seaweed: Seaweed) -> None:
    """Writers are killed, and requests to the S3 fail, or are carried out late, twice or unanswered."""
    items = Items(kafka, lakes.topic)
    items.change(1)

    def has_begun() -> bool:
        return all(_rows(file) == (1, 1) for file in lakes.files.values())

    def goes_on() -> bool:
        items.change(20)
        return all(rows > 10 for file in lakes.files.values() for rows in _rows(file))

    with ExitStack() as stack:
        proxy = stack.enter_context(S3Proxy(seaweed.endpoint_url, seed=1))
        files = lakes.written(proxy.url).values()
        killed = [stack.enter_context(SinkProcess("lake", str(file))) for file in files]
        wait_for("one row, which decides the types", has_begun)
        proxy.rate = 0.03
        wait_for("rows in all tables", goes_on)
        wait_for("each mishap", lambda: len(proxy.met) == len(MISHAPS))
        for process in killed:
            assert process.exit_code is None, process.logged
            process.kill()
            assert any("column n " in line for line in process.logged)
        items.change(200)
        heirs = [stack.enter_context(SinkProcess("lake", str(file), "--once", "--json")) for file in files]
        for heir in heirs:
            code, printed = heir.ended()
            assert code == 0, heir.logged
            assert json.loads(printed)["at_end"]
    for kind, file in lakes.files.items():
        changes = lakes.rows(kind, "changes", "__partition, __offset")
        assert len(changes) == len(items.changes)
        assert set(changes) == items.changes
        current = lakes.rows(kind, "current", "id, CAST(v AS INTEGER), n, n__json")
        assert len(current) == len(items.present)
        assert {row[0]: row[1:] for row in current} == items.present
        assert _rows(file) == (len(items.changes), len(items.present))
    assert sorted(lakes.by_pyarrow()) == sorted(items.present)


def test_a_catalog_of_type_rest(lakes: Lakes, kafka: KafkaBroker, seaweed: Seaweed) -> None:
    """The catalog chooses where the files of the tables are."""
    lakes.catalog = seaweed.catalog()
    file = lakes.written(seaweed.endpoint_url)["iceberg"]
    items = Items(kafka, lakes.topic)
    for count in (1, 50):
        items.change(count)
        (report,) = LakeWriter(load(file), once=True).run(lambda: False)
        assert report.at_end
    changes = lakes.rows("iceberg", "changes", "__partition, __offset")
    assert len(changes) == len(items.changes)
    assert set(changes) == items.changes
    current = lakes.rows("iceberg", "current", "id, CAST(v AS INTEGER), n, n__json")
    assert {row[0]: row[1:] for row in current} == items.present
    assert _rows(file) == (len(items.changes), len(items.present))


def _rows(file: Path) -> tuple[int, ...]:
    """Return how many rows the tables have, as the status says it."""
    (status,) = read_status(load(file)).lakes
    assert status.fault is None
    return tuple(topic.rows for topic in status.topics)


def test_values_that_no_table_can_take_are_dead_letters_and_lakes_are_kept_apart(
    lakes: Lakes, kafka: KafkaBroker
) -> None:
    """Of a key that the column cannot hold the change log has the change, and the present state cannot.

    What neither can take is one dead letter, not two.
    """
    loaded = load(lakes.files["delta"])
    dead_letters = create_topic(kafka.client_properties(), loaded.pipeline.dead_letters_topic)
    producer = transactional_producer(kafka.client_properties())
    keys = b'{"id":{"N":"1"}}', b'{"id":{"S":"one"}}'
    for value, key in [*((each.value, each.key) for each in (_record(key, key) for key in keys)), (b"unreadable", b"")]:
        producer.begin_transaction()
        producer.produce(lakes.topic, value, key, partition=0)
        producer.commit_transaction(TIMEOUT_S)
        (report,) = LakeWriter(loaded, once=True).run(lambda: False)
    assert (report.at_end, report.dead_letters) == (True, 1)
    assert set(lakes.rows("delta", "changes", "id, id__json")) == {(Decimal(1), None), (None, '"one"')}
    assert lakes.rows("delta", "current", "id") == [(Decimal(1),)]
    said: list[dict[str, Any]] = [dict(each.headers() or []) for each in read_all(loaded.pipeline, dead_letters)]
    misfit, unreadable = (each["__connect.errors.exception.message"] for each in said)
    assert b'column id of the item\'s key cannot hold "one"' in misfit
    assert b"the value is of no format" in unreadable
    text = lakes.files["delta"].read_text().replace("delta", "iceberg").replace("/iceberg", "/delta")
    lakes.files["iceberg"].write_text(text + "  catalog: {type: sql, uri: 'sqlite:///other.db'}\n")
    with pytest.raises(WorldError, match="another lake: its format is delta, here it is iceberg"):
        LakeWriter(load(lakes.files["iceberg"]), once=True)
