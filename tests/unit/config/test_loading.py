"""A right file gives the pipeline that it describes, defaults filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tailrace.config import FileErrors, Pipeline, from_flags, load
from tailrace.config.sources.dynamodb_streams import DynamoDBStreamsSource
from tailrace.errors import TopicError

MINIMAL = """\
name: shop
kafka:
  bootstrap.servers: localhost:9092
source:
  type: dynamodb-streams
  tables: [orders, "users-*"]
"""

WHOLE = """\
name: shop
kafka:
  bootstrap.servers: "b1:9092,b2:9092"
  client.id: 007
  linger.ms: 5
  socket.keepalive.enable: True
source:
  type: dynamodb-streams
  region: eu-west-1
  endpoint_url: http://localhost:8000
  profile: data
  role_arn: arn:aws:iam::123456789012:role/team/tailrace
  external_id: abc-123
  tables: [orders, "users-*"]
  exclude: ["users-test-*"]
  start: latest
  poll: {min: 50ms, max: 2s}
  readers: 8
  discovery: {interval: 1m, describe_stream_per_second: 2}
topic: "cdc.{pipeline}.{table}.v1"
topics:
  partitions: 12
  replication: 3
  properties: {cleanup.policy: compact, retention.ms: 604800000, preallocate: false}
format: cloudevents
numbers: string
tombstones: false
errors: fail
dead_letters: shop.bad
lanes: 4
batch: {changes: 100, bytes: 1MB, linger: 0ms}
buffer: 2MiB
"""


@pytest.fixture(autouse=True)
def _no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)


def loaded(folder: Path, content: str) -> Pipeline:
    path = folder / "pipeline.yaml"
    path.write_text(content)
    return load(path).pipeline


def test_the_defaults(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, MINIMAL)
    assert pipeline.shown() == {
        "name": "shop",
        "kafka": {"bootstrap.servers": "localhost:9092"},
        "source": {
            "type": "dynamodb-streams",
            "region": None,
            "endpoint_url": None,
            "profile": None,
            "role_arn": None,
            "access_key_id": None,
            "secret_access_key": None,
            "external_id": None,
            "tables": ["orders", "users-*"],
            "tags": {},
            "exclude": [],
            "tagging_endpoint_url": None,
            "enable_streams": None,
            "start": "trim_horizon",
            "poll": {"min": "100ms", "max": "1s"},
            "readers": 16,
            "discovery": {"interval": "10s", "describe_stream_per_second": 5},
        },
        "snapshot": {
            "mode": "never",
            "read_capacity": "50%",
            "segments": "auto",
            "parallel_tables": "all",
            "filter": None,
        },
        "on_gap": {"default": None, "tables": {}},
        "topic": "{pipeline}.{table}",
        "topics": {"partitions": 6, "replication": "auto", "properties": {}, "names": {}},
        "transform": [],
        "format": "debezium",
        "connect": {},
        "schema": None,
        "lake": [],
        "replica": None,
        "numbers": "exact",
        "tombstones": True,
        "errors": "dead-letter",
        "dead_letters": None,
        "lanes": 16,
        "batch": {"changes": 5000, "bytes": "8MiB", "linger": "50ms"},
        "buffer": "48MiB",
        "lambda": {
            "name": None,
            "architecture": "arm64",
            "memory": "1GiB",
            "timeout": "1m",
            "window": "1m",
            "batch_size": 1000,
            "batching_window": "0ms",
            "parallelization_factor": 1,
            "maximum_retry_attempts": -1,
            "maximum_record_age": None,
            "on_failure": "queue",
            "reserved_concurrency": None,
            "log_retention_days": 30,
            "iterator_age_alarm": "15m",
            "vpc": {"subnets": [], "security_groups": []},
        },
    }
    assert pipeline.checkpoints_topic == "shop.checkpoints"
    assert pipeline.dead_letters_topic == "shop.dead-letters"
    assert pipeline.topic_of("orders") == "shop.orders"


def test_every_key_is_taken(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, WHOLE)
    assert dict(pipeline.kafka) == {
        "bootstrap.servers": "b1:9092,b2:9092",
        "client.id": "007",
        "linger.ms": "5",
        "socket.keepalive.enable": "true",
    }
    source = pipeline.source
    assert isinstance(source, DynamoDBStreamsSource)
    assert source.external_id
    assert source.external_id.get_secret_value() == "abc-123"
    assert (source.poll.min_ms, source.poll.max_ms, source.discovery.interval_ms) == (50, 2_000, 60_000)
    assert (pipeline.batch.changes, pipeline.batch.size_bytes, pipeline.batch.linger_ms) == (100, 1_000_000, 0)
    assert pipeline.buffer_bytes == 2 << 20
    assert pipeline.topics.properties == {
        "cleanup.policy": "compact",
        "retention.ms": "604800000",
        "preallocate": "false",
    }
    assert pipeline.topic_of("orders") == "cdc.shop.orders.v1"
    assert pipeline.dead_letters_topic == "shop.bad"


def test_what_is_shown_loads_to_the_same_pipeline(tmp_path: Path) -> None:
    whole = loaded(tmp_path, WHOLE.replace("  external_id: abc-123\n", ""))
    assert Pipeline.model_validate(whole.shown()).shown() == whole.shown()


def test_a_format_is_its_name_or_a_mapping_of_its_type(tmp_path: Path) -> None:
    short, long = (loaded(tmp_path, f"{MINIMAL}format: {text}\n") for text in ("item", "{type: item}"))
    assert short == long
    assert short.format.type == "item"
    assert short.shown()["format"] == "item"


def test_words_that_older_yaml_takes_for_something_else_are_text(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, MINIMAL.replace("shop", "no").replace("[orders,", "[off, yes, 2024-01-01, 1_000,"))
    assert pipeline.name == "no"
    assert tuple(entry.text for entry in pipeline.source.tables_read) == (
        "off",
        "yes",
        "2024-01-01",
        "1_000",
        "users-*",
    )


def test_the_pipeline_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        loaded(tmp_path, MINIMAL).lanes = 3


def test_tables_are_wanted_by_pattern_unless_left_out(tmp_path: Path) -> None:
    source = loaded(tmp_path, WHOLE).source
    assert [t for t in ("orders", "orders2", "users-a", "users-test-a", "Users-a") if source.reads(t)] == [
        "orders",
        "users-a",
    ]


def test_a_table_is_brought_in_by_its_name_before_any_pattern(tmp_path: Path) -> None:
    source = loaded(tmp_path, MINIMAL.replace('[orders, "users-*"]', '["o*", "or*", orders]')).source
    entries = [source.entry_of(table) for table in ("orders", "ores", "users")]
    assert [entry and entry.path for entry in entries] == [("source", "tables", 2), ("source", "tables", 0), None]


def test_a_table_whose_topic_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TopicError, match=r"would be `shop\.uuu"):
        loaded(tmp_path, MINIMAL).topic_of("u" * 250)


@pytest.mark.parametrize("table", ["checkpoints", "dead-letters"])
def test_a_table_that_only_a_pattern_matches_never_gets_one_of_the_pipelines_own_topics(
    tmp_path: Path, table: str
) -> None:
    with pytest.raises(TopicError, match=f"would be `shop.{table}`, that of the "):
        loaded(tmp_path, MINIMAL.replace("[orders]", '["*"]')).topic_of(table)


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_comes_from_the_environment_unless_the_file_has_it(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "ap-south-1")
    assert loaded(tmp_path, MINIMAL).source.region == "ap-south-1"
    assert loaded(tmp_path, WHOLE).source.region == "eu-west-1"


def test_references_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9092")
    monkeypatch.setenv("LANES", "4")
    monkeypatch.setenv("TOMBSTONES", "false")
    monkeypatch.setenv("FORMAT", "item")
    (tmp_path / "name.txt").write_text("sh\nop\r\n".replace("\n", "", 1))
    content = MINIMAL.replace("localhost:9092", "b1:${env:PORT},b2:${env:PORT}").replace("shop", "${file:name.txt}")
    more = "lanes: ${env:LANES}\ntombstones: ${env:TOMBSTONES}\nformat: ${env:FORMAT}\n"
    pipeline = loaded(tmp_path, content + more)
    assert pipeline.name == "shop"
    assert pipeline.kafka["bootstrap.servers"] == "b1:9092,b2:9092"
    assert (pipeline.lanes, pipeline.tombstones, pipeline.format.type) == (4, False, "item")


def test_two_dollars_stand_for_one(tmp_path: Path) -> None:
    content = MINIMAL.replace("source:", "  client.id: a$${env:X}b$c\nsource:")
    assert loaded(tmp_path, content).kafka["client.id"] == "a${env:X}b$c"


def test_what_is_filled_in_cannot_bring_yaml_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIL", "x\nlanes: 1\nsource: {a: b}")
    content = MINIMAL.replace("source:", "  client.id: ${env:EVIL}\nsource:")
    pipeline = loaded(tmp_path, content)
    assert pipeline.kafka["client.id"] == "x\nlanes: 1\nsource: {a: b}"
    assert pipeline.lanes == 16


def test_what_is_filled_in_is_not_filled_in_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTER", "${env:INNER}")
    content = MINIMAL.replace("source:", "  client.id: ${env:OUTER}\nsource:")
    assert loaded(tmp_path, content).kafka["client.id"] == "${env:INNER}"


def test_only_the_last_line_end_of_a_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("a\nb\n\n")
    content = MINIMAL.replace("source:", "  client.id: ${file:id}\nsource:")
    assert loaded(tmp_path, content).kafka["client.id"] == "a\nb\n"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (None, "needs the file f, which cannot be read: no such file or directory; "),
        (b"\xff", "needs the file f, which is not UTF-8 text; "),
        (b"x" * (1 << 20) + b"x", "needs the file f, which is larger than 1 MiB; "),
        (b"a\0b", "holds a character that is no text; "),
    ],
)
def test_a_file_that_cannot_be_used(make: bytes | None, told: str, tmp_path: Path) -> None:
    if make is not None:
        (tmp_path / "f").write_bytes(make)
    with pytest.raises(FileErrors) as caught:
        loaded(tmp_path, MINIMAL.replace("source:", "  ssl.key.pem: ${file:f}\nsource:"))
    assert f":4: kafka.ssl.key.pem: {told}" in str(caught.value)


def test_without_a_file() -> None:
    pipeline = from_flags(["orders"], "localhost:9092", endpoint_url="http://localhost:8000").pipeline
    assert (pipeline.name, pipeline.lanes, pipeline.format.type) == ("tailrace-orders", 16, "debezium")
    assert pipeline.source.endpoint_url == "http://localhost:8000"
    assert pipeline.topic_of("orders") == "tailrace-orders.orders"


def test_without_a_file_the_name_follows_from_the_tables() -> None:
    def name(*tables: str) -> str:
        return from_flags(tables, "localhost:9092").pipeline.name

    assert name("aaa", "bbb") == name("bbb", "aaa")
    long = "a" * 180
    distinct = [
        ("aaa",),
        ("bbb",),
        ("aaa", "bbb"),
        ("aaa", "ccc"),
        ("aaa-bbb",),
        ("aaa*",),
        ("*",),
        (long,),
        (f"{long}b",),
    ]
    assert len({name(*tables) for tables in distinct}) == len(distinct)


def test_without_a_file_the_flags_are_named() -> None:
    with pytest.raises(FileErrors) as caught:
        from_flags(["x y"], "local host", region="US East")
    assert [error.path for error in caught.value.errors] == ["--bootstrap", "--region", "--table"]
    assert str(caught.value).startswith("--bootstrap: `local host` is not a list of brokers; write `host:port`")


YAML_LIKE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*Pipeline.model_fields, "type", "tables", "min"]), inner, max_size=5),
    ),
    max_leaves=12,
)


def sentences_of(path: Path) -> list[str]:
    try:
        load(path)
    except FileErrors as errors:
        return [str(error) for error in errors.errors]
    return []


def loads_or_refuses(path: Path) -> None:
    for sentence in sentences_of(path):
        assert sentence.startswith(f"{path}")
        assert len(sentence.splitlines()) == 1
        assert not any(word in sentence.lower() for word in ("pydantic", "traceback", "input should"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=200))
@example(text='a: "\\UFFFFFFFF"')
@example(text="%YAML 9.9\n---\na")
@example(text="? {a: b}\n: c")
@example(text="!!int x: !!float y")
@example(text="a: !!int b\nc: !!bool d\ne: !!null f")
@example(text="kafka: {a: {b: c}, ? [x] : y}")
@example(text="source: {tables: [{a: b}, [c], null, 1, '']}")
@example(text="topics: {properties: {a: null, b: [1], c: {d: e}}, replication: {}}")
@example(text="topics: [1]\nbatch: 1\nkafka: 1\nname: {}")
@example(text="lanes: 99999999999999999999999999\nbuffer: 9999999999999999MiB")
@example(text="topic: '{{}}{'\nname: '{}'")
@example(text="name: ${file:/}\nformat: ${file:.}\nerrors: '${env:A=B}${env:}'")
def test_any_text_gives_a_pipeline_or_sentences(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    loads_or_refuses(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_give_a_pipeline_or_sentences(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    loads_or_refuses(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=YAML_LIKE)
def test_any_structure_gives_a_pipeline_or_sentences(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    loads_or_refuses(path)
