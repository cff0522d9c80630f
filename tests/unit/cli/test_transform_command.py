"""`tailrace transform`: the samples that it takes, what it shows, and how it ends."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from support.cli import CommandLine

HEAD = """\
name: shop
kafka: {bootstrap.servers: localhost:9092}
source: {type: dynamodb-streams, region: eu-west-1, tables: [orders]}
"""
STEPS = """\
transform:
  - filter: item.note != 'noise'
  - hash: {attributes: [mail], key: 0123456789abcdef}
"""
ARN = "arn:aws:dynamodb:us-east-2:123456789012:table/{}/stream/2024-01-01T00:00:00.000"


def record(number: int, note: str, *, mail: Any = "a@example.com", table: str | None = None) -> dict[str, Any]:
    image = {"id": {"S": "a"}, "note": {"S": note}, "mail": {"S": mail} if isinstance(mail, str) else mail}
    made: dict[str, Any] = {
        "eventID": f"{number}",
        "eventName": "INSERT",
        "dynamodb": {
            "Keys": {"id": {"S": "a"}},
            "NewImage": image,
            "SequenceNumber": f"{number}",
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }
    return made | ({"eventSourceARN": ARN.format(table)} if table else {})


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    Path("pipeline.yaml").write_text(HEAD + STEPS)
    return CommandLine(capsys)


def write(sample: Any) -> str:
    Path("sample.json").write_text(json.dumps(sample))
    return "sample.json"


@pytest.mark.parametrize(
    ("sample", "region"),
    [
        ({"Records": [record(1, "a", table="orders")]}, "us-east-2"),
        ({"Records": [record(1, "a")], "NextShardIterator": "x"}, "eu-west-1"),
        (record(1, "a"), "eu-west-1"),
        (record(1, "a", table="orders"), "us-east-2"),
    ],
    ids=["a Lambda event", "an answer of GetRecords", "a record of it", "a record of a Lambda event"],
)
def test_every_form_of_a_sample_is_taken(run: CommandLine, sample: Any, region: str) -> None:
    ended = run("transform", "pipeline.yaml", "--sample", write(sample), "--json")
    assert (ended.code, ended.err) == (0, "")
    (change,) = ended.json()["changes"]
    assert (change["outcome"], change["table"], change["sequence"]) == ("published", "orders", "1")
    (published,) = change["records"]
    assert (published["topic"], published["key"]) == ("shop.orders", {"id": "a"})
    assert published["value"]["source"]["region"] == region
    assert len(published["value"]["after"]["mail"]) == 64


def test_a_sample_is_taken_from_stdin(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(record(1, "a")).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    ended = run("transform", "pipeline.yaml", "--sample", "-")
    assert ended.code == 0
    assert ended.out.startswith('orders 1 -> shop.orders\n  key    {"id":"a"}\n  value  {')


def test_drops_and_dead_letters_are_told_with_their_reason(run: CommandLine) -> None:
    sample = write({"Records": [record(1, "noise"), record(2, "a", mail={"L": []}), record(3, "a"), {"dynamodb": {}}]})
    ended = run("transform", "pipeline.yaml", "--sample", sample)
    assert (ended.code, ended.err) == (2, ended.err)
    sample = write({"Records": [record(1, "noise"), record(2, "a", mail={"L": []}), record(3, "a")]})
    ended = run("transform", "pipeline.yaml", "--sample", sample)
    assert ended.code == 1
    lines = ended.out.splitlines()
    assert lines[0] == "orders 1 dropped by transform[0]: filter"
    assert lines[1].startswith(
        "orders 2 is a dead letter (TRANSFORMATION): transform[1]: hash: a list cannot be hashed"
    )
    assert lines[-1] == "3 changes: 1 published, 1 dropped, 1 dead-letter, 0 stopped"
    changes = run("transform", "pipeline.yaml", "--sample", sample, "--json").json()["changes"]
    assert [change["outcome"] for change in changes] == ["dropped", "dead-letter", "published"]
    assert [change["stage"] for change in changes] == ["", "TRANSFORMATION", ""]


def test_with_errors_fail_it_says_what_would_stop(run: CommandLine) -> None:
    Path("pipeline.yaml").write_text(HEAD + STEPS + "errors: fail\n")
    ended = run("transform", "pipeline.yaml", "--sample", write(record(2, "a", mail={"L": []})))
    assert ended.code == 1
    assert ended.out.startswith("orders 2 stops its shard: transform[1]: hash: a list cannot be hashed")


def test_without_a_transformation_it_shows_the_conversion_alone(run: CommandLine) -> None:
    Path("pipeline.yaml").write_text(HEAD + "format: cloudevents\n")
    ended = run("transform", "pipeline.yaml", "--sample", write(record(1, "noise")))
    assert ended.code == 0
    assert "  header content-type: application/cloudevents+json; charset=UTF-8\n" in ended.out


FORMS = "give a Lambda event, an answer of GetRecords, or one record of them"


@pytest.mark.parametrize(
    ("sample", "sentence"),
    [
        ("{", f"sample.json: is no sample: Input data was truncated; {FORMS}"),
        ("{}", f"sample.json: is no sample: it has neither Records nor dynamodb; {FORMS}"),
        ("[]", "sample.json: is no sample: Expected `object`, got `array`"),
        (json.dumps({"Records": [5]}), "sample.json: holds a record that cannot be placed"),
        (json.dumps({"Records": [{"dynamodb": {}}]}), "sample.json: no record of a page of shard"),
        (json.dumps(record(1, "a", table="users")), "holds a record of table users, which the pipeline leaves out"),
        (json.dumps(record(1, "a") | {"eventSourceARN": "arn:x"}), "sample.json: holds a record that cannot be placed"),
    ],
)
def test_what_is_no_sample_is_told(run: CommandLine, sample: str, sentence: str) -> None:
    Path("sample.json").write_text(sample)
    ended = run("transform", "pipeline.yaml", "--sample", "sample.json")
    assert ended.code == 2
    assert sentence in ended.err


def test_a_sample_that_is_not_there_is_told(run: CommandLine) -> None:
    ended = run("transform", "pipeline.yaml", "--sample", "nowhere.json")
    assert (ended.code, ended.err) == (
        2,
        "error: nowhere.json: cannot be read: no such file or directory; give the path of a sample\n",
    )


def test_of_several_tables_one_is_named(run: CommandLine) -> None:
    Path("pipeline.yaml").write_text(HEAD.replace("[orders]", "[orders, users]"))
    sample = write(record(1, "a"))
    ended = run("transform", "pipeline.yaml", "--sample", sample)
    assert (ended.code, "give --table" in ended.err) == (2, True)
    ended = run("transform", "pipeline.yaml", "--sample", sample, "--table", "users")
    assert (ended.code, ended.out.startswith("users 1 -> shop.users\n")) == (0, True)


def test_a_function_that_is_not_there_is_told_with_its_line(run: CommandLine) -> None:
    Path("pipeline.yaml").write_text(HEAD + "transform: no_such_module:f\n")
    for command in (["transform", "pipeline.yaml", "--sample", write(record(1, "a"))], ["validate", "pipeline.yaml"]):
        ended = run(*command)
        assert (ended.code, ended.err) == (
            2,
            "error: pipeline.yaml:4: transform[0].function: there is no module no_such_module; "
            "put it beside the pipeline file, or install it\n",
        )
