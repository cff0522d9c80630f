"""The keys of `source.type: kinesis`, and the sentences for what is wrong with them."""

# ruff: noqa: E501 - a sentence of the table is one line

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from yaml import BaseLoader
from yaml import load as load_yaml

from support.stream_records import stream_record
from tailrace.config import FileErrors, json_schema, load
from tailrace.config.sources.kinesis import KinesisSource
from tailrace.errors import TopicError
from tailrace.operations.sample import try_sample
from tailrace.operations.tail import tables_by_topic

TOP = "name: shop\nkafka: {bootstrap.servers: 'localhost:9092'}\nsource:\n  type: kinesis\n"
GOOD = TOP + "  streams: [shop-cdc]\n"
ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/shop-cdc"


def source_of(path: Path, content: str) -> KinesisSource:
    file = path / "pipeline.yaml"
    file.write_text(content)
    source = load(file).pipeline.source
    assert isinstance(source, KinesisSource)
    assert Draft202012Validator(json_schema()).is_valid(load_yaml(content, BaseLoader) | {"name": "shop"})
    return source


@pytest.mark.parametrize(
    ("line", "position", "start_ms"),
    [
        ("trim_horizon", "TRIM_HORIZON", None),
        ("latest", "LATEST", None),
        ("1700000000000", "TRIM_HORIZON", 1_700_000_000_000),
        ("'1700000000000'", "TRIM_HORIZON", 1_700_000_000_000),
        ("'2023-11-14T22:13:20Z'", "TRIM_HORIZON", 1_700_000_000_000),
        ("2023-11-14T22:13:20+00:00", "TRIM_HORIZON", 1_700_000_000_000),
    ],
)
def test_a_stream_starts_where_the_file_says(line: str, position: str, start_ms: int | None, tmp_path: Path) -> None:
    source = source_of(tmp_path, GOOD.replace("kinesis\n", f"kinesis\n  start: {line}\n"))
    assert (source.start_position, source.start_ms) == (position, start_ms)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TOP, "3: source.streams: is missing; add e.g. `streams: [shop-cdc]`"),
        (TOP + "  streams: []\n", "5: source.streams: "),
        (TOP + "  streams: [shop cdc]\n", "5: source.streams[0]: `shop cdc` cannot be a stream's name; "),
        (TOP + "  streams: ['arn:aws:dynamodb:x']\n", "5: source.streams[0]: `arn:aws:dynamodb:x` is not the ARN of a stream; "),
        (TOP + f"  region: eu-west-1\n  streams: ['{ARN}']\n", "3: source: reads eu-west-1 and names a stream of us-east-1; "),
        (TOP + f"  streams: ['{ARN}', '{ARN.replace('1234', '4321')}']\n", "5: source.streams: names two streams `shop-cdc` of different accounts or regions; "),
        (GOOD + "  start: yesterday\n", "6: source.start: must be trim_horizon, latest or a time, not `yesterday`; "),
        (GOOD + "  start: 2h\n", "6: source.start: must be trim_horizon, latest or a time, not `2h`; "),
        (GOOD + "  start: true\n", "6: source.start: must be trim_horizon, latest or a time, not true or false; "),
        (GOOD + "  late: keep\n", "6: source.late: must be flag, reorder or drop, not `keep`"),
        (GOOD + "  late_wait: 5s\n", "3: source: has `late_wait` without `late: reorder`; "),
        (GOOD + "  fan_out: enhanced\n", "3: source: has `fan_out: enhanced` without `consumer`; "),
        (GOOD + "  consumer: tailrace\n", "3: source: has `consumer` without `fan_out: enhanced`; "),
        (GOOD + "  fan_out: enhanced\n  consumer: a/b\n", "7: source.consumer: `a/b` cannot be a consumer's name; "),
        (GOOD + "  window: 0s\n", "6: source.window: must be 1s to 24h, not `0s`"),
        (GOOD + "  records: raw\n  tables: [orders]\n", "3: source: has `tables` or `exclude` with `records: raw`; "),
        (GOOD + "  readers: 3\n", "6: source.readers: is not a key of `source`; "),
        (TOP + "  streams: [one, two]\ntopic: '{stream}'\n", "6: topic: would put several tables into one topic; "),
        (TOP + "  streams: [one, two]\ntopic: '{stream}.{table}'\nsnapshot: initial\n", "6: topic: has `{stream}`, and rows of snapshots come with no stream; "),
        (TOP + "  streams: ['o*']\ntopic: '{stream}.{table}'\non_gap: resnapshot\n", "6: topic: has `{stream}`, and rows of snapshots come with no stream; "),
        (GOOD + "  records: raw\nsnapshot: initial\n", "7: snapshot: reads tables, and the records of the streams are raw; "),
        (GOOD + "  records: raw\non_gap: resnapshot\n", "7: on_gap: reads tables, and the records of the streams are raw; "),
        (GOOD + "on_gap: {tables: {shop-cdd: resnapshot}}\n", "6: on_gap.tables.shop-cdd: `shop-cdd` is no stream of the pipeline; did you mean `shop-cdc`?"),
        (GOOD + "topic: all\n", "6: topic: would put several tables into one topic; "),
    ],
)  # fmt: skip
def test_a_mistake_gives_one_sentence(content: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(content)
    with pytest.raises(FileErrors) as caught:
        load(file)
    (sentence,) = str(caught.value).splitlines()
    assert sentence.removeprefix(f"{file}:").startswith(expected)


def test_streams_are_known_by_their_names(tmp_path: Path) -> None:
    source = source_of(tmp_path, TOP + f"  streams: ['{ARN}', 'web-*']\n")
    assert [entry.text for entry in source.tables_read] == ["shop-cdc", "web-*"]
    assert source.arns == {"shop-cdc": ARN}
    assert source.reads("web-1")
    assert not source.reads("shop")


def test_tables_filter_changes_and_leave_raw_records_alone(tmp_path: Path) -> None:
    source = source_of(tmp_path, GOOD + "  tables: [orders, 'users-*']\n  exclude: [users-old]\n")
    published = ("orders", "users-1", "users-old", "other", "shop-cdc")
    assert [source.publishes(table) for table in published] == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("more", "only"),
    [
        ("", None),
        ("  records: raw\n", "shop-cdc"),
        ("  records: dynamodb\n", None),
        ("  records: dynamodb\n  tables: [orders]\n", "orders"),
        ("  records: dynamodb\n  tables: [orders-*]\n", None),
        ("  tables: [orders]\n", None),
    ],
)
def test_one_topic_is_enough_for_one_table_or_one_raw_stream(more: str, only: str | None, tmp_path: Path) -> None:
    assert source_of(tmp_path, GOOD + more).only_table == only


def test_a_step_may_name_any_table_whose_changes_are_published(tmp_path: Path) -> None:
    step = "transform: [{filter: 'true', tables: [%s]}]\n".replace("'true'", "\"op == 'c'\"")
    source_of(tmp_path, GOOD + step % "orders")
    source_of(tmp_path, GOOD + "  tables: [orders]\n" + step % "orders")
    with pytest.raises(FileErrors, match="`users` is no table of the pipeline"):
        source_of(tmp_path, GOOD + "  tables: [orders]\n" + step % "users")


def test_raw_records_cannot_be_transformed(tmp_path: Path) -> None:
    with pytest.raises(
        FileErrors, match="transform: works on changes of tables, and the records of the streams are raw; "
    ):
        source_of(tmp_path, GOOD + "  records: raw\ntransform: [{exclude: [note]}]\n")


def test_a_route_to_one_topic_names_its_table(tmp_path: Path) -> None:
    route = "transform: [{route: {by: 'item.kind', topics: {a: shop.as}}%s}]\n"
    source_of(tmp_path, GOOD + route % ", tables: [orders]")
    with pytest.raises(FileErrors, match=r"would put several tables into `shop\.as`"):
        source_of(tmp_path, GOOD + route % "")


def test_what_happens_at_a_gap_is_said_of_streams(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(TOP + "  streams: [one, two]\n  tables: [orders]\non_gap: {tables: {one: resnapshot}}\n")
    pipeline = load(file).pipeline
    assert [pipeline.on_gap_of(stream) for stream in ("one", "two")] == ["resnapshot", "fail"]


@pytest.mark.parametrize(
    ("more", "topic", "topics"),
    [
        ("  tables: [orders]\n", "{pipeline}.{stream}.{table}", ("shop.one.orders", "shop.shop-cdc.orders")),
        ("  records: raw\n", "raw.{stream}", ("raw.one", "raw.shop-cdc")),
        ("  records: dynamodb\n  tables: [orders]\n", "all.{stream}", ("all.one", "all.shop-cdc")),
    ],
)
def test_a_topic_may_be_named_after_each_of_several_streams(
    more: str, topic: str, topics: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(TOP + f"  streams: [one, '{ARN}', 'web-*']\n{more}topic: '{topic}'\n")
    pipeline = load(file).pipeline
    assert pipeline.topics_of("orders") == topics
    assert pipeline.topic_of("web-1", "web-1") == topic.format(pipeline="shop", stream="web-1", table="web-1")
    with pytest.raises(TopicError, match="depends on the stream"):
        pipeline.topic_of("orders")
    sample = json.dumps(stream_record(1, sequence="1" * 21, created_s=1.0, keys={"id": {"S": "a"}})).encode()
    if "raw" not in more:
        (tried, *_) = try_sample(load(file), sample, table="orders", file="s.json", now_ns=0)
        assert tried.records[0].topic == topics[0]
    table_of = tables_by_topic(pipeline)
    assert [table_of(each) for each in topics] == (["one", "shop-cdc"] if "raw" in more else ["orders", "orders"])
    assert table_of(topics[0].replace("one", "other")) is None


@pytest.mark.parametrize("stream", ["shop-cdc", ARN])
def test_a_topic_may_be_named_after_the_one_stream(stream: str, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(TOP + f"  streams: ['{stream}']\ntopic: '{{pipeline}}.{{stream}}.{{table}}'\n")
    assert load(file).pipeline.topic_of("orders") == "shop.shop-cdc.orders"
