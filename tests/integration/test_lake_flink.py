"""A lake and Apache Flink on a real broker and S3: Flink reads what Tailrace wrote, and writes by itself, killed.

The first test of a machine downloads Flink, 422 MB; where that cannot be done they are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from duckdb_extensions import import_extension

from support.export_process import SinkProcess
from support.kafka_clients import create_topic
from support.lake_changes import PARTITIONS, Changes, Row
from support.names import unique
from support.pipeline_file import write_file
from support.publishing import create_checkpoint_topic
from support.seaweed import BUCKET, CREDENTIALS, REGION, Seaweed
from support.waiting import wait_for
from tailrace.config import load
from tailrace.errors import WorldError
from tailrace.flink.environment import Environment, install
from tailrace.flink.gateway import Gateway
from tailrace.flink.lake_job import LakeJob
from tailrace.local.kafka import KafkaBroker
from tailrace.operations.lake import LakeWriter
from tailrace.operations.lake_targets import require_targets


@pytest.fixture(scope="module")
def flink() -> Environment:
    try:
        return install(print)
    except WorldError as error:
        pytest.skip(f"Apache Flink cannot be installed here: {error}")


@pytest.fixture(scope="module")
def gateway(flink: Environment) -> Iterator[Gateway]:
    with Gateway(flink) as server:
        yield server


def test_flink_reads_what_tailrace_wrote(gateway: Gateway, kafka: KafkaBroker, tmp_path: Path) -> None:
    name = unique("lake")
    lake = tmp_path / "lake"
    declared = {"location": lake.as_uri(), "columns": {"orders": {"n": "decimal(20, 2)"}}}
    file = write_file(tmp_path, kafka.client_properties(), name, lake=declared)
    loaded = load(file)
    create_checkpoint_topic(loaded.pipeline)
    changes = Changes(kafka, create_topic(kafka.client_properties(), f"{name}.orders", partitions=PARTITIONS), seed=1)
    for commit in (True, False, True):
        changes.transaction(100, commit=commit)
    (report,) = LakeWriter(loaded, once=True).run(lambda: False)
    assert report.at_end
    with gateway.session() as session:
        session.run("SET 'execution.runtime-mode' = 'batch'")
        session.run(
            "CREATE TABLE lake (__op STRING, __ts TIMESTAMP(3), __partition INT, __offset BIGINT, id STRING, "
            "n DECIMAL(20, 2)) WITH ('connector' = 'filesystem', 'format' = 'parquet', "
            f"'parquet.utc-timezone' = 'true', 'path' = '{(lake / 'orders' / 'changes').as_uri()}')"
        )
        rows = session.run("SELECT __partition, __offset, id, n, __op, CAST(__ts AS STRING) FROM lake")
    assert {(row[0], row[1], row[2]) for row in rows} == changes.committed
    assert len(rows) == len(changes.committed)
    source = f"read_parquet('{lake}/**/*.parquet', union_by_name=true)"
    wanted = duckdb.sql(
        "SELECT __partition, __offset, id, n, __op, strftime(__ts AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M:%S.%g') "
        f"FROM {source}"
    ).fetchall()
    assert sorted(_exact(row) for row in rows) == sorted(_exact(row) for row in wanted)


def _exact(row: Any) -> tuple[Any, ...]:
    partition, offset, item, number, *rest = row
    return (partition, offset, item, Decimal(number), *rest)


@pytest.mark.filterwarnings("ignore:list_groups:DeprecationWarning")  # what superseded it may abort the process
def test_flink_writes_each_change_once_over_a_kill(
    flink: Environment, kafka: KafkaBroker, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in CREDENTIALS.items():
        monkeypatch.setenv(key, value)
    name = unique("lake")
    location = f"s3://{BUCKET}/{name}"
    lake = {
        "location": location,
        "endpoint_url": seaweed.endpoint_url,
        "region": REGION,
        "engine": "flink",
        "partition_by": ["day(__ts)"],
        "columns": {"orders": {"id": "string", "n": "decimal(38, 2)", "absent": "list(bigint)"}},
        "file": {"age": "1s"},
    }
    file = write_file(tmp_path, kafka.client_properties(), name, lake=lake)
    create_checkpoint_topic(load(file).pipeline)
    topic = create_topic(kafka.client_properties(), f"{name}.orders", partitions=PARTITIONS)
    changes, reader = Changes(kafka, topic, seed=2), _Reader(seaweed, location)
    changes.transaction(50, commit=True)
    with changes, SinkProcess("lake", str(file)) as killed:
        wait_for("rows of a second checkpoint", lambda: len(reader.rows()) > 500)
        with pytest.raises(WorldError, match="another process runs the job of this lake"):
            LakeJob(require_targets(load(file))[0]).run(flink, lambda: True, once=False)
        killed.kill()
    with SinkProcess("lake", str(file), "--once", "--json") as last:
        code, printed = last.ended()
        assert code == 0, last.logged
    assert json.loads(printed)["at_end"]
    rows = reader.rows()
    assert len(rows) == len(set(rows))
    assert set(rows) == changes.committed


class _Reader:
    """DuckDB on what Flink wrote."""

    def __init__(self, seaweed: Seaweed, location: str) -> None:
        import_extension("httpfs")
        self._files = f"{location}/orders/changes/**/part-*"
        self._connection = duckdb.connect()
        self._connection.execute("LOAD httpfs")
        self._connection.execute(
            "CREATE SECRET (TYPE s3, KEY_ID ?, SECRET ?, REGION ?, ENDPOINT ?, URL_STYLE 'path', USE_SSL false)",
            [*CREDENTIALS.values(), REGION, seaweed.endpoint_url.removeprefix("http://")],
        )

    def rows(self) -> list[Row]:
        try:
            return self._connection.execute(
                "SELECT __partition, __offset, id FROM read_parquet(?) "
                "WHERE __op = 'c' AND n > 0 AND absent IS NULL AND __value LIKE '%' || id || '%'",
                [self._files],
            ).fetchall()
        except duckdb.IOException:  # no file yet
            return []
