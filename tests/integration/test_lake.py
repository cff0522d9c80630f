"""`tailrace lake` on a real broker and S3: killed, joined, behind a bad network; read back with DuckDB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from confluent_kafka import TopicPartition
from duckdb_extensions import import_extension

from support.azurite_store import CONTAINER, KEY, Azurite
from support.cli import CommandLine
from support.export_process import SinkProcess
from support.fake_gcs import BUCKET as GCS_BUCKET
from support.fake_gcs import FakeGcs
from support.kafka_clients import create_topic
from support.lake_changes import PARTITIONS, Changes, Row
from support.names import unique
from support.pipeline_file import write_file
from support.publishing import create_checkpoint_topic, read_all
from support.s3_proxy import MISHAPS, S3Proxy
from support.seaweed import BUCKET, CREDENTIALS, REGION, Seaweed
from support.waiting import wait_for
from tailrace.config import LoadedLakeFile, load, load_lake
from tailrace.errors import FileError, WorldError
from tailrace.kafka import clients
from tailrace.lake.opening import open_location
from tailrace.local.kafka import KafkaBroker
from tailrace.operations.lake import LakeWriter
from tailrace.operations.lake_plan import make_lake_plan, read_lake_status
from tailrace.operations.status import read_status


class Reader:
    """DuckDB on the S3 itself."""

    def __init__(self, seaweed: Seaweed, location: str) -> None:
        import_extension("httpfs")
        self._files = f"{location}/**/*.parquet"
        self._connection = duckdb.connect()
        self._connection.execute("LOAD httpfs")
        self._connection.execute(
            "CREATE SECRET (TYPE s3, KEY_ID ?, SECRET ?, REGION ?, ENDPOINT ?, URL_STYLE 'path', USE_SSL false)",
            [*CREDENTIALS.values(), REGION, seaweed.endpoint_url.removeprefix("http://")],
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask of all that the location has."""
        source = f"read_parquet('{self._files}', union_by_name=true)"
        return self._connection.execute(sql.replace("LAKE", source)).fetchall()

    def rows(self) -> list[Row]:
        try:
            return self.query("SELECT __partition, __offset, id FROM LAKE")
        except duckdb.IOException:  # no file yet
            return []


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def pipeline(kafka: KafkaBroker, seaweed: Seaweed, tmp_path: Path, credentials: None) -> Pipeline:
    return Pipeline(kafka, tmp_path, seaweed.endpoint_url)


class Pipeline:
    """A pipeline with one topic and a lake."""

    def __init__(self, kafka: KafkaBroker, folder: Path, endpoint_url: str) -> None:
        self.name = unique("lake")
        self.location = f"s3://{BUCKET}/{self.name}"
        self._kafka = kafka
        self._folder = folder
        self.file = self.written(endpoint_url)
        create_checkpoint_topic(load(self.file).pipeline)
        self.topic = create_topic(kafka.client_properties(), f"{self.name}.orders", partitions=PARTITIONS)

    def written(self, endpoint_url: str, name: str | None = None, **lake: Any) -> Path:
        """Write its file."""
        section = {
            "location": self.location,
            "endpoint_url": endpoint_url,
            "region": REGION,
            "partition_by": ["day(__ts)"],
            "file": {"bytes": "64KiB", "age": "1s"},
        }
        return write_file(self._folder, self._kafka.client_properties(), name or self.name, lake=section | lake)


def finish(file: Path) -> dict[str, Any]:
    """Catch up with one process, and return its report."""
    with SinkProcess("lake", str(file), "--once", "--json") as last:
        code, printed = last.ended()
        assert code == 0, last.logged
    report: dict[str, Any] = json.loads(printed)
    assert report["at_end"]
    return report


def test_each_change_is_there_once_whatever_happens_to_its_writers_and_the_network(
    pipeline: Pipeline, kafka: KafkaBroker, seaweed: Seaweed
) -> None:
    reader = Reader(seaweed, pipeline.location)
    with S3Proxy(seaweed.endpoint_url, seed=1) as proxy, Changes(kafka, pipeline.topic, seed=1) as changes:
        file = pipeline.written(proxy.url)
        with SinkProcess("lake", str(file)) as killed, SinkProcess("lake", str(file)) as heir:
            wait_for("first rows", lambda: len(reader.rows()) > 0)
            proxy.rate = 0.03
            wait_for("rows through a bad network", lambda: len(each_once(reader.rows())) > 1_000)
            killed.kill()
            before = len(reader.rows())
            wait_for("the other goes on", lambda: len(each_once(reader.rows())) > before + 1_000)
            wait_for("each mishap", lambda: len(proxy.met) == len(MISHAPS))
            assert heir.exit_code is None, heir.logged
        changes.stop()
        proxy.rate = 0
        finish(file)
        assert finish(file)["topics"] == {}
    rows = each_once(reader.rows())
    assert set(rows) == changes.committed
    days = reader.query("SELECT DISTINCT tailrace_ts_day FROM LAKE")
    assert len(days) == 3


def each_once(rows: list[Row]) -> list[Row]:
    assert len(rows) == len(set(rows))
    return rows


def test_files_are_near_their_wanted_size_and_the_status_tells(
    pipeline: Pipeline, kafka: KafkaBroker, seaweed: Seaweed
) -> None:
    file = pipeline.written(seaweed.endpoint_url, partition_by=[], file={"bytes": "64KiB", "age": "1h"})
    changes = Changes(kafka, pipeline.topic, seed=2)
    for _ in range(60):
        changes.transaction(1_000, commit=True)
    loaded = load(file)
    (report,) = LakeWriter(loaded, once=True).run(lambda: False)
    assert report.at_end
    reader = Reader(seaweed, pipeline.location)
    assert set(each_once(reader.rows())) == changes.committed
    (status,) = read_status(loaded).lakes
    (topic,) = status.topics
    assert (topic.table, topic.behind_changes_at_most, topic.rows) == ("orders", 0, 60_000)
    assert (topic.files, topic.size_bytes) == (report.files, report.size_bytes)
    sizes = sorted(
        each["Size"]
        for each in seaweed.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{pipeline.name}/orders/")["Contents"]
    )
    full = sizes[PARTITIONS:]  # of each partition the last file may be small
    assert full
    assert 50_000 < full[0] < full[-1] < 150_000


def test_a_value_that_does_not_fit_its_column_is_a_dead_letter(
    pipeline: Pipeline, kafka: KafkaBroker, seaweed: Seaweed
) -> None:
    loaded = load(pipeline.written(seaweed.endpoint_url, columns={"orders": {"n": "bigint"}}))
    dead_letters = create_topic(kafka.client_properties(), loaded.pipeline.dead_letters_topic)
    changes = Changes(kafka, pipeline.topic, seed=3)
    changes.transaction(5, commit=True)
    (report,) = LakeWriter(loaded, once=True).run(lambda: False)
    assert (report.at_end, report.files, report.dead_letters) == (True, 0, 5)
    places = set()
    for letter in read_all(loaded.pipeline, dead_letters):
        said: dict[str, Any] = dict(letter.headers() or [])
        assert said["__connect.errors.topic"] == pipeline.topic.encode()
        assert b"column n" in said["__connect.errors.exception.message"]
        places.add((int(said["__connect.errors.partition"]), int(said["__connect.errors.offset"])))
    assert places == {(partition, offset) for partition, offset, _ in changes.committed}
    assert LakeWriter(loaded, once=True).run(lambda: False)[0].dead_letters == 0


def test_a_second_lake_at_one_location_is_refused(pipeline: Pipeline, seaweed: Seaweed) -> None:
    LakeWriter(load(pipeline.file), once=True).close()
    other = pipeline.written(seaweed.endpoint_url, partition_by=["hour(__ts)"])
    said = (
        r"another lake: its partition_by is day\(__ts\), here it is hour\(__ts\); give each lake a location of its own"
    )
    with pytest.raises(WorldError, match=said):
        LakeWriter(load(other), once=True)


def test_several_lakes_of_a_file_are_written_by_one_process_or_one_by_one(
    pipeline: Pipeline, kafka: KafkaBroker, tmp_path: Path
) -> None:
    lakes: list[dict[str, Any]] = [
        {"name": name, "location": (tmp_path / name).as_uri(), "file": {"age": "1s"}} for name in ("raw", "more")
    ]
    lakes[1] |= {"columns": {"orders": {"n": "bigint"}}}
    file = write_file(tmp_path, kafka.client_properties(), pipeline.name, lake=lakes)
    loaded = load(file)
    create_topic(kafka.client_properties(), loaded.pipeline.dead_letters_topic)
    changes = Changes(kafka, pipeline.topic, seed=4)
    changes.transaction(50, commit=True)
    with SinkProcess("lake", str(file), "--target", "raw", "--once", "--json") as alone:
        code, printed = alone.ended()
        assert code == 0, alone.logged
    assert [json.loads(printed)[each] for each in ("name", "at_end", "dead_letters")] == ["raw", True, 0]
    assert [lake.begun for lake in read_status(loaded).lakes] == [True, False]
    raw, more = LakeWriter(loaded, once=True).run(lambda: False)
    assert (raw.topics, more.topics[pipeline.topic].records, more.dead_letters) == ({}, 50, 50)
    (letter, *_) = read_all(loaded.pipeline, loaded.pipeline.dead_letters_topic)
    assert dict(letter.headers() or [])["tailrace.lake"] == b"more"
    status = read_status(loaded).lakes
    assert [(lake.name, lake.topics[0].rows, lake.topics[0].behind_changes_at_most) for lake in status] == [
        ("raw", 50, 0),
        ("more", 0, 0),
    ]
    with pytest.raises(FileError, match="the file has no lake less; its lakes are raw, more"):
        LakeWriter(loaded, once=True, target="less")


def test_a_lake_of_its_own_file_has_the_topics_of_other_pipelines(kafka: KafkaBroker, tmp_path: Path) -> None:
    name, team = unique("analytics"), unique("team")
    topics = [create_topic(kafka.client_properties(), f"{team}.{each}") for each in ("orders", "checkpoints")]
    changes = Changes(kafka, topics[0], seed=5, partitions=1)
    changes.transaction(20, commit=True)
    settings: dict[str, Any] = {
        "name": name,
        "kafka": kafka.client_properties(),
        "topics": [f"{team}.{{table}}"],
        "lake": {"location": (tmp_path / "lake").as_uri()},
    }
    file = tmp_path / "lake.yaml"
    file.write_text(yaml.safe_dump(settings))
    assert finish(file)["topics"][topics[0]]["records"] == 20
    assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/lake/orders/**/*.parquet'").fetchall() == [(20,)]
    loaded = load_lake(file)
    assert isinstance(loaded, LoadedLakeFile)
    (status,) = read_lake_status(loaded).lakes
    assert [(each.table, each.rows, each.behind_changes_at_most) for each in status.topics] == [("orders", 20, 0)]
    plan = make_lake_plan(loaded)
    assert (plan.tables, plan.is_dead_letters_topic_there, plan.lakes[0].begun) == ({topics[0]: "orders"}, True, True)
    file.write_text(yaml.safe_dump(settings | {"topics": [topics[0], f"{team}.nothing"]}))
    with pytest.raises(WorldError, match=r"topics\[1\]: team.*nothing matches no topic; correct it, or start the"):
        LakeWriter(load_lake(file), once=True)


@pytest.mark.parametrize("target", [{"format": "parquet"}, {"format": "delta", "tables": ["changes", "current"]}])
def test_what_retention_removed_before_it_was_written_is_skipped_once_it_is_accepted(
    pipeline: Pipeline, kafka: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: dict[str, Any]
) -> None:
    lake = target | {"location": (tmp_path / "lake").as_uri()}
    file = write_file(tmp_path, kafka.client_properties(), pipeline.name, lake=lake)
    loaded, run = load(file), CommandLine(capsys)
    changes = Changes(kafka, pipeline.topic, seed=6, partitions=1)
    changes.transaction(10, commit=True)
    LakeWriter(loaded, once=True).run(lambda: False)
    changes.transaction(10, commit=True)
    (removed,) = (
        clients.admin(kafka.client_properties()).delete_records([TopicPartition(pipeline.topic, 0, 15)]).values()
    )
    removed.result()
    with pytest.raises(WorldError, match="then: tailrace accept-gap FILE --lake main"):
        LakeWriter(loaded, once=True).run(lambda: False)
    accepted = run("accept-gap", file, "--lake", "main", "--yes")
    assert (accepted.code, accepted.err.splitlines()[0]) == (
        0,
        f"lost: changes of table orders: {pipeline.topic} [0], offsets 11 to 14",
    )
    assert run("accept-gap", file, "--lake", "main", "--yes").err.startswith("error: the lake main has no gap")
    assert LakeWriter(loaded, once=True).run(lambda: False)[0].at_end
    (status,) = read_status(loaded).lakes
    assert {(topic.lost, topic.behind_changes_at_most) for topic in status.topics} == {(4, 0)}
    assert status.topics[0].rows == 10 + 6


@pytest.fixture
def stores(fake_gcs: FakeGcs, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """A location and an endpoint of Google and Azure each."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    return {
        "google": (f"gs://{GCS_BUCKET}", fake_gcs.endpoint_url),
        "azure": (f"abfss://{CONTAINER}@account.dfs.core.windows.net", azurite.endpoint_url),
    }


def test_lakes_in_google_cloud_storage_and_azure_have_each_change_once(
    pipeline: Pipeline, kafka: KafkaBroker, stores: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    lakes = [
        {"name": name, "location": f"{uri}/{pipeline.name}", "endpoint_url": url} for name, (uri, url) in stores.items()
    ]
    loaded = load(write_file(tmp_path, kafka.client_properties(), pipeline.name, lake=lakes))
    changes = Changes(kafka, pipeline.topic, seed=7)
    for _ in range(2):
        changes.transaction(50, commit=True)
        assert all(report.at_end for report in LakeWriter(loaded, once=True).run(lambda: False))
    for lake in loaded.pipeline.lakes:
        location = open_location(lake)
        files = [location.read(each.name) or b"" for each in location.files("orders")]
        rows = pa.concat_tables([pq.read_table(pa.BufferReader(each)) for each in files]).to_pylist()
        assert set(each_once([(row["__partition"], row["__offset"], row["id"]) for row in rows])) == changes.committed
