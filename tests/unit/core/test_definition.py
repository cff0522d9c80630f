"""Which changes of a pipeline's definition conflict with what runs, and who has to stop for them."""

from __future__ import annotations

from typing import Any

import pytest

from support.checkpoints import BORN_MS, table, view_of
from tailrace.core.checkpoint import DefinitionKey, DefinitionRecord, Route, TableState, Write
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.definition import conflicts, differences, overruled_by
from tailrace.core.discovery import leave_out, leave_out_untagged
from tailrace.core.tags import WantedTag


def definition(*tables: str, generation: int = 1, **fields: Any) -> DefinitionRecord:
    said = {"exclude": (), "topic": "shop.{table}", "routes": (), "format": "debezium", "transform": ""}
    return DefinitionRecord(generation=generation, tables=tables, **(said | fields))


def checkpoint_state(recorded: DefinitionRecord | None, *writes: Write) -> CheckpointState:
    return view_of(4, *writes, *([Write(0, DefinitionKey(), recorded)] if recorded else []))


def told(recorded: DefinitionRecord | None, mine: DefinitionRecord, *writes: Write) -> list[str]:
    return [str(conflict) for conflict in conflicts(checkpoint_state(recorded, *writes), mine)]


def test_adding_a_table_another_format_or_transformation_are_no_conflicts() -> None:
    mine = definition("orders", "users", "log-*", format="item", transform="other")
    assert told(definition("orders"), mine, table("orders")) == []
    assert differences(definition("orders"), mine) == (
        "source.tables has log-*, users in addition",
        "format is item instead of debezium",
        "transform is another",
    )


def test_a_table_that_runs_is_not_left_out() -> None:
    assert told(definition("*"), definition("users"), table("orders")) == ["table orders would be left out"]
    assert told(None, definition("users"), table("orders")) == ["table orders would be left out"]


def test_a_table_that_runs_is_not_sent_elsewhere() -> None:
    routed = definition("orders", routes=(Route(("ord*",), ("shop.a", "shop.b")),))
    assert told(definition("orders"), routed, table("orders")) == [
        "the changes of table orders would go to shop.a, shop.b instead of shop.orders"
    ]
    assert told(definition("orders"), definition("orders", topic="shop.{table}"), table("orders")) == []


@pytest.mark.parametrize("state", ["off", "missing", "left out"])
def test_a_table_that_does_not_run_may_be_taken_out(state: TableState) -> None:
    assert told(definition("orders", "users"), definition("users"), table("orders", state=state)) == []


def test_a_table_that_was_left_out_is_not_started_again_unasked() -> None:
    left_out = table("orders", state="left out")
    assert told(definition("users"), definition("users", "orders"), left_out) == [
        "table orders, which was left out, would be read again"
    ]


def test_of_two_first_files_the_second_is_refused_although_nothing_was_listed() -> None:
    assert told(definition("orders"), definition("users")) == ["table orders would be left out"]


def test_a_enumerator_with_an_older_definition_leaves_out_nothing_that_the_newer_one_names() -> None:
    shown = checkpoint_state(
        definition("orders", "users", generation=2), table("orders"), table("users"), table("gone")
    )
    writes = leave_out(shown, lambda each: each == "orders", BORN_MS)
    assert [write.key.table for write in writes if hasattr(write.key, "table")] == ["gone"]


def test_whoever_is_overruled_stops_and_whoever_lacks_a_table_goes_on() -> None:
    mine = definition("orders", "users")
    shown = checkpoint_state(None, table("orders"), table("users", state="left out"))
    assert overruled_by(shown, definition("orders", "users", "more"), mine) == ()
    (stopped,) = overruled_by(shown, definition("orders"), mine)
    assert (stopped.table, stopped.kind) == ("users", "stopped")
    both = overruled_by(shown, definition("orders", "users", topic="other.{table}"), mine)
    assert [(each.table, each.kind) for each in both] == [("orders", "redirected"), ("users", "redirected")]


CDC, STAGES = WantedTag("cdc", ("true",)), WantedTag("stage", ("prod", "staging"))


@pytest.mark.parametrize(
    ("before", "after", "conflict"),
    [
        ((CDC,), (CDC,), ""),
        ((CDC, STAGES), (CDC,), ""),
        ((CDC,), (), ""),
        ((CDC,), (CDC, STAGES), "unless it has the tags cdc=true, stage=prod|staging"),
        ((), (CDC,), "unless it has the tags cdc=true"),
    ],
)
def test_other_tags_must_not_stop_what_runs(
    before: tuple[WantedTag, ...], after: tuple[WantedTag, ...], conflict: str
) -> None:
    recorded, mine = definition("*", tags=before), definition("*", tags=after)
    expected = [f"table orders would be left out {conflict}"] if conflict else []
    assert told(recorded, mine, table("orders")) == expected
    overruled = overruled_by(checkpoint_state(mine, table("orders")), mine, recorded)
    assert [str(each) for each in overruled] == expected, "a worker with the file before ends for the same reason"


def test_what_lost_its_tags_is_read_again_by_other_tags_only_once_that_is_accepted() -> None:
    rests = table("orders", state="left out")
    cdc = definition("*", tags=(CDC,))
    assert told(cdc, cdc, rests) == []
    assert told(cdc, definition("*", tags=(CDC, STAGES)), rests) == []
    again = ["table orders, which was left out, would be read again"]
    assert told(cdc, definition("*"), rests) == again
    assert told(cdc, definition("*", tags=(STAGES,)), rests) == again


def test_other_tags_are_told() -> None:
    before, after = definition("*", tags=(CDC,)), definition("*", tags=(CDC, STAGES))
    assert differences(before, before) == ()
    assert differences(before, after) == ("source.tags is cdc=true, stage=prod|staging instead of cdc=true",)
    assert differences(before, definition("*")) == ("source.tags is not set instead of cdc=true",)


def test_a_table_without_the_tags_is_left_out_unless_the_recorded_definition_wants_it() -> None:
    def left_out(recorded: DefinitionRecord | None, *writes: Write) -> list[str]:
        shown = checkpoint_state(recorded, *writes)
        return [str(write.record) for write in leave_out_untagged(shown, "orders", {"stage": "prod"}, BORN_MS)]

    (record,) = left_out(definition("*", tags=(CDC,)), table("orders"))
    assert "state='left out'" in record
    assert "it does not have the tags" in record
    assert left_out(definition("*", tags=(CDC,)), table("orders", state="left out")) == []
    assert left_out(definition("*", tags=(CDC,))) == []
    assert left_out(definition("*", tags=(STAGES,)), table("orders")) == []
    assert left_out(None, table("orders"))


def test_a_definition_with_tags_is_not_for_earlier_readers() -> None:
    """They would take it for one of all tables."""
    assert (definition("*").r, definition("*", tags=(CDC,)).r) == (1, 3)


def test_another_kind_of_source_stops_all_that_runs() -> None:
    mine = definition("*", source_type="kinesis", published=("orders",))
    assert told(definition("orders"), mine, table("orders")) == ["table orders would be left out"]
    assert differences(definition("orders"), mine) == (
        "source.type is kinesis instead of dynamodb-streams",
        "source.streams has * in addition",
        "source.streams lacks orders",
        "source.tables has orders in addition",
    )
    state = checkpoint_state(None, table("orders"))
    assert [each.kind for each in overruled_by(state, mine, definition("orders"))] == ["stopped"]
