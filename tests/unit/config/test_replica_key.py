"""What the `replica` key takes, refuses and asks of AWS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.pipeline_file import write_file
from tailrace.config import FileErrors, load
from tailrace.config.replica import Replica

KAFKA = {"bootstrap.servers": "localhost:9092"}
ELSEWHERE = {"region": "eu-west-1"}
TYPED = {"format": "dynamodb-json"}
ROUTE = {"route": {"by": "op", "topics": {"c": "shop.other"}, "otherwise": "shop.{table}"}}


def replica(folder: Path, keys: dict[str, Any], **settings: Any) -> Replica:
    found = load(write_file(folder, KAFKA, "shop", replica=keys, **(TYPED | settings))).pipeline.replica
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("keys", "settings", "sentence"),
    [
        (ELSEWHERE, {"format": "debezium"}, "the format debezium loses the types of items"),
        (ELSEWHERE, {"format": "item"}, "the format item loses the types of items"),
        (ELSEWHERE, {"transform": [ROUTE]}, "changes of a table go to several, which have no order"),
        (ELSEWHERE | {"transform": [ROUTE]}, {}, "replica.transform: has a route, which only topics have"),
        ({"write": "version"}, {}, "replica: would write each table onto itself"),
        (ELSEWHERE | {"tables": "all"}, {}, "would put several tables into `all`"),
        (ELSEWHERE | {"tables": "a b"}, {}, "cannot name a table"),
        (ELSEWHERE | {"external_id": "secret"}, {}, "replica.external_id: has no use without a role"),
        (
            ELSEWHERE | {"write": "transaction", "keep_deleted": "2h"},
            {},
            "replica.keep_deleted: is of `write: version`",
        ),
    ],
)
def test_what_cannot_keep_a_copy_is_refused(
    keys: dict[str, Any], settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(FileErrors) as refused:
        replica(tmp_path, keys, **settings)
    assert any(sentence in str(each) for each in refused.value.errors)


def test_copies_are_named_by_one_template_or_by_table(tmp_path: Path) -> None:
    assert replica(tmp_path, ELSEWHERE).target_of("orders") == "orders"
    assert replica(tmp_path, {"tables": "{table}-dr"}).target_of("orders") == "orders-dr"
    named = replica(tmp_path, ELSEWHERE | {"tables": {"or*": "{table}-eu", "orders": "bestellungen"}})
    assert [named.target_of(each) for each in ("orders", "orgs", "users")] == ["bestellungen", "orgs-eu", None]


def test_the_rights_are_those_of_the_copies_and_the_control_table(tmp_path: Path) -> None:
    role = "arn:aws:iam::210987654321:role/tailrace"
    rights = replica(tmp_path, ELSEWHERE | {"role_arn": role, "tables": "{table}-dr"}).aws_rights("shop")
    assert [each.resources for each in rights] == [
        (role,),
        ("arn:aws:dynamodb:eu-west-1:*:table/*-dr",),
        ("arn:aws:dynamodb:eu-west-1:*:table/shop-replica",),
    ]
