"""The AWS permissions that the docs list are those that `plan` shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tailrace.config import load
from tailrace.config.rights import AwsRight

DOCS = Path(__file__).parents[3] / "docs"
TOP = "name: shop\nkafka: {bootstrap.servers: 'localhost:9092'}\n"
WEB = "arn:aws:kinesis:us-east-1:210987654321:stream/web"
KINESIS = f"source: {{type: kinesis, region: us-east-1, streams: ['shop-*', {WEB}], "


def rights_of(folder: Path, rest: str) -> tuple[AwsRight, ...]:
    file = folder / "pipeline.yaml"
    file.write_text(TOP + rest)
    return load(file).pipeline.aws_rights


def actions(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\b[a-z]+:[A-Z][A-Za-z]+\b", text))


def test_kinesis(tmp_path: Path) -> None:
    everything = "fan_out: enhanced, consumer: tailrace}\nsnapshot: when_needed\n"
    page = (DOCS / "kinesis.md").read_text()
    section = page[page.index("## AWS permissions") : page.index("## Repeats")]
    rows = {actions(row.split("|")[1]) for row in re.findall(r"^\|.*\|$", section, re.MULTILINE)} - {frozenset()}
    shown = {frozenset(right.actions) for right in rights_of(tmp_path, KINESIS + everything)}
    assert rows == shown | {frozenset({"kms:Decrypt"})}


def test_only_what_a_kinesis_pipeline_needs_is_shown(tmp_path: Path) -> None:
    (reading, listing) = rights_of(tmp_path, KINESIS + "tables: [orders]}\n")
    streams = ("arn:aws:kinesis:us-east-1:*:stream/shop-*", WEB)
    assert (reading.resources, listing.actions) == (streams, ("kinesis:ListStreams",))
    *_, described, scanned = rights_of(tmp_path, KINESIS + "tables: [orders, 'users-*']}\nsnapshot: initial\n")
    assert (described.actions, scanned.actions) == (("dynamodb:DescribeTable",), ("dynamodb:Scan",))
    assert scanned.resources == tuple(f"arn:aws:dynamodb:us-east-1:*:table/{name}" for name in ("orders", "users-*"))


def test_dynamodb_streams(tmp_path: Path) -> None:
    page = (DOCS / "before-you-start.md").read_text()
    policy = json.loads(page[page.index("```json") + len("```json") : page.index("```\n\nCredentials")])
    listed = {
        (frozenset(actions(json.dumps(each["Action"]))), each["Resource"].replace("123456789012", "*"))
        for each in policy["Statement"]
    }
    plain = "source: {type: dynamodb-streams, region: us-east-1, tables: [%s]}\n"
    shown = {(frozenset(right.actions), *right.resources) for right in rights_of(tmp_path, plain % "orders")}
    (with_pattern,) = (right for right in rights_of(tmp_path, plain % "'orders*'") if right.resources == ("*",))
    assert listed == shown | {(frozenset(with_pattern.actions), "*")}
    everything = (
        "source: {type: dynamodb-streams, tags: {cdc: 'true'}, enable_streams: NEW_IMAGE}\nsnapshot: when_needed\n"
    )
    needed = {action for right in rights_of(tmp_path, everything) for action in right.actions}
    assert needed <= actions(page)
    assert needed <= actions((DOCS / "operations.md").read_text())


def test_a_role_is_assumed_with_the_rights_of_the_host(tmp_path: Path) -> None:
    role = "arn:aws:iam::123456789012:role/tailrace"
    first, *_ = rights_of(tmp_path, f"source: {{type: dynamodb-streams, tables: [orders], role_arn: '{role}'}}\n")
    assert (first.actions, first.resources) == (("sts:AssumeRole",), (role,))
