"""What is missing between exports and changes is told, with the commands that export it."""

from __future__ import annotations

import pytest

from support.checkpoints import BORN_MS, checkpoint, lineage, shard, table, view_of
from support.snapshot_records import result, snapshot
from tailrace.core.checkpoint import Write
from tailrace.core.ports import ExportFacts, LoadedExport
from tailrace.errors import WorldError
from tailrace.operations.snapshot_exports import missing_exports
from tailrace.remedy import LoadExports
from tailrace.sources.dynamodb.policy import POLICY

LANES = 4
ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/orders"
DAY_MS = 24 * 3_600_000
STREAMING = [table(), lineage(shard(1), LANES), checkpoint(shard(1), LANES)]


def export(exported_ms: int, from_ms: int | None = None, location: str = "s3://exports/orders/1") -> ExportFacts:
    return ExportFacts(location, ARN, exported_ms, from_ms, 1, 1, ())


def missing(*exports: ExportFacts, state: list[Write] = STREAMING) -> WorldError | None:
    return missing_exports(view_of(LANES, *state), POLICY, "orders", exports)


def test_an_export_made_after_the_first_listing_needs_nothing_else() -> None:
    assert missing(export(BORN_MS + 61_000)) is None


def test_an_older_one_needs_an_incremental_export_which_is_named() -> None:
    error = missing(export(BORN_MS - 3_600_000))

    assert error is not None
    assert error.remedy == LoadExports("orders", ("s3://exports/orders/1",))
    assert str(error) == (
        "the exports of table orders hold it as of 2023-11-14T21:13:20Z, and the topics hold its changes since "
        "2023-11-14T22:13:20Z: what was changed between (and a minute around, as clocks differ) would be missing; load "
        "an export that was made later, or export what is missing, too: aws dynamodb export-table-to-point-in-time "
        f"--table-arn {ARN} --s3-bucket exports --export-type INCREMENTAL_EXPORT "
        "--incremental-export-specification "
        "ExportFromTime=2023-11-14T21:13:20Z,ExportToTime=2023-11-14T22:14:21Z,ExportViewType=NEW_AND_OLD_IMAGES; "
        "then load all: tailrace snapshot start FILE --table orders --export s3://exports/orders/1 --export NEW_EXPORT…"
    )


def test_a_long_hole_takes_an_export_a_day_and_the_bucket_of_a_folder_is_not_known() -> None:
    error = missing(export(BORN_MS - 3 * DAY_MS, location="/exports/1"))

    assert error is not None
    assert error.hint.count("aws dynamodb export-table-to-point-in-time") == 4
    assert "--s3-bucket BUCKET " in error.hint


def test_what_was_loaded_before_counts_only_once_it_is_complete() -> None:
    loaded = snapshot(source="export", exports=(LoadedExport("s3://exports/orders/1", BORN_MS),))
    later = export(BORN_MS + DAY_MS, BORN_MS)

    assert missing(later, state=[*STREAMING, loaded, result()]) is None
    for unfinished in ([], [result(outcome="cancelled")]):
        with pytest.raises(WorldError, match="holds changes only, and no export was loaded before it"):
            missing(later, state=[*STREAMING, loaded, *unfinished])
