"""Exports to S3 are found, verified and read; what is wrong with one is said in a sentence."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from support.exports import Item, write_full_export, write_incremental_export, write_manifest
from support.s3_server import S3Server
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.core.ports import ReadError, ReadFailure, SourceRecord, SpoiledExportError, TableFacts
from tailrace.errors import WorldError
from tailrace.sources.dynamodb.export import Export

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/ProductCatalog"
FACTS = TableFacts("ProductCatalog", ARN, {"Id": "N"}, item_count=0, size_bytes=0, read_capacity=None)
AT_MS = 1_700_000_000_123
ITEMS: list[Item] = [
    {"Id": {"N": str(number)}, "Title": {"S": f'Book "{number}" é'}, "Pages": {"N": "600"}} for number in range(25)
]


@pytest.fixture
def open_export() -> Iterator[Callable[..., Export]]:
    """Open exports that are closed in the end."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(closing(Export(*arguments)))


def read_all(export: Export, *, limit_bytes: int = 1 << 20) -> list[SourceRecord]:
    """Read every file of an export, page by page."""
    records = []
    for file in export.describe().files:
        cursor: str | None = None
        while True:
            rows = export.read(FACTS, file.name, cursor, mark="incremental", limit_bytes=limit_bytes)
            records += rows.records
            cursor = rows.next_cursor
            if cursor is None:
                break
    return records


def images(records: list[SourceRecord]) -> list[Any]:
    return [json.loads(each.change.after) for each in records if each.change is not None and each.change.after]


@pytest.mark.parametrize("output_format", ["DYNAMODB_JSON", "ION"])
@pytest.mark.parametrize("limit_bytes", [1, 300, 1 << 20])
def test_a_full_export_yields_its_items_in_order_whatever_the_size_of_pages(
    tmp_path: Path, output_format: Any, limit_bytes: int
) -> None:
    write_full_export(tmp_path, ARN, [ITEMS[:7], [], ITEMS[7:]], exported_ms=AT_MS, output_format=output_format)
    export = Export(str(tmp_path))

    facts = export.describe()
    records = read_all(export, limit_bytes=limit_bytes)

    assert (facts.table_arn, facts.exported_ms, facts.from_ms, facts.item_count) == (ARN, AT_MS, None, 25)
    assert [each.item_count for each in facts.files] == [7, 0, 18]
    assert all(each.size_bytes > 0 for each in facts.files)
    assert images(records) == ITEMS
    change = records[0].change
    assert change is not None
    assert (change.op, change.keys, change.before, change.created_ms) == ("r", b'{"Id":{"N":"0"}}', None, AT_MS)
    assert (change.snapshot, change.stream_arn, change.region) == ("incremental", ARN, "us-east-1")
    assert records[0].origin.created_ms == AT_MS


@pytest.mark.parametrize("output_format", ["DYNAMODB_JSON", "ION"])
def test_an_incremental_export_yields_the_new_items_and_the_deletes(tmp_path: Path, output_format: Any) -> None:
    keys: list[Item] = [{"Id": item["Id"]} for item in ITEMS]
    changes = [
        (keys[0], None, ITEMS[0]),
        (keys[1], ITEMS[1], ITEMS[1] | {"Pages": {"N": "601"}}),
        (keys[2], ITEMS[2], None),
        (keys[3], None, None),
    ]
    home = write_incremental_export(
        tmp_path, ARN, [changes], from_ms=AT_MS - 3_600_000, exported_ms=AT_MS, output_format=output_format
    )
    export = Export(str(home))

    assert export.describe().from_ms == AT_MS - 3_600_000
    found = [
        (each.change.op, json.loads(each.change.keys), each.change.before and json.loads(each.change.before))
        for each in read_all(export)
        if each.change is not None
    ]
    assert found == [("r", keys[0], None), ("r", keys[1], None), ("d", keys[2], ITEMS[2]), ("d", keys[3], None)]
    assert images(read_all(export))[1]["Pages"] == {"N": "601"}


def test_a_segment_goes_on_at_its_cursor_in_another_process(tmp_path: Path, open_export: Callable[..., Export]) -> None:
    write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    export = open_export(str(tmp_path))
    (file,) = export.describe().files
    first = export.read(FACTS, file.name, None, mark="true", limit_bytes=300)

    again = Export(str(tmp_path)).read(FACTS, file.name, first.next_cursor, mark="true")

    assert first.next_cursor == str(len(first.records))
    assert images(first.records + again.records) == ITEMS
    assert again.next_cursor is None


def test_a_page_can_be_read_again(tmp_path: Path, open_export: Callable[..., Export]) -> None:
    write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    export = open_export(str(tmp_path))
    (file,) = export.describe().files
    first = export.read(FACTS, file.name, "5", mark="true", limit_bytes=300)

    assert export.read(FACTS, file.name, "5", mark="true", limit_bytes=300) == first


def test_a_file_that_is_read_while_the_export_is_closed_is_closed_too(tmp_path: Path) -> None:
    write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    export = Export(str(tmp_path))
    (file,) = export.describe().files
    export.close()

    assert export.read(FACTS, file.name, None, mark="true", limit_bytes=1).next_cursor == "1"
    assert export._open == {}


def test_a_line_that_cannot_be_understood_spoils_only_itself(tmp_path: Path) -> None:
    write_full_export(tmp_path, ARN, [[ITEMS[0], {"Title": {"S": "no key"}}, ITEMS[1]]], exported_ms=AT_MS)

    records = read_all(Export(str(tmp_path)))

    assert images(records) == ITEMS[:2]
    assert records[1].error is not None
    assert "cannot be understood" in str(records[1].error)
    assert json.loads(records[1].origin.raw) == {"Title": {"S": "no key"}}


def test_a_line_of_the_other_kind_is_an_error(tmp_path: Path) -> None:
    told = {"exportType": "INCREMENTAL_EXPORT", "exportFromTime": "2023-11-14T00:00:00Z"}
    write_full_export(
        tmp_path, ARN, [ITEMS[:1]], exported_ms=AT_MS, summary=told | {"exportToTime": told["exportFromTime"]}
    )

    (record,) = read_all(Export(str(tmp_path)))

    assert record.error is not None
    assert "it has no Keys" in str(record.error)


@pytest.mark.parametrize("below", ["", "AWSDynamoDB", "AWSDynamoDB/1", "AWSDynamoDB/1/manifest-summary.json"])
def test_the_one_export_in_a_folder_is_found(tmp_path: Path, below: str) -> None:
    home = write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS, export_id="1")
    (tmp_path / "AWSDynamoDB" / "unfinished").mkdir()

    assert Export(str(tmp_path / below)).describe().location == str(home)


def test_several_exports_in_a_folder_are_listed(tmp_path: Path) -> None:
    homes = [write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS, export_id=each) for each in ("1", "2")]

    with pytest.raises(WorldError, match=f"holds 2 exports: {homes[0]}, {homes[1]}; give one of them"):
        Export(str(tmp_path))


def test_a_folder_without_a_finished_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "AWSDynamoDB" / "1").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(WorldError, match="holds no finished export: there is no"):
            Export(str(folder))


def test_a_file_whose_checksum_is_wrong_yields_no_row(tmp_path: Path) -> None:
    write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    (path,) = tmp_path.rglob("*.json.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"600", b"601")))

    with pytest.raises(SpoiledExportError, match=f"{path} does not match its checksum; copy the file again"):
        read_all(Export(str(tmp_path)))


@pytest.mark.parametrize("by", [-1, 1])
def test_a_file_with_another_number_of_items_is_refused(tmp_path: Path, by: int) -> None:
    home = write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS, summary={"itemCount": 25 + by})
    manifest = home / "manifest-files.json"
    write_manifest(manifest, manifest.read_text().replace('"itemCount": 25', f'"itemCount": {25 + by}'))

    with pytest.raises(SpoiledExportError, match=r"has (25|more) items.* its manifest says"):
        read_all(Export(str(tmp_path)))


def test_a_file_that_cannot_be_unpacked_is_refused(tmp_path: Path) -> None:
    home = write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    (path,) = tmp_path.rglob("*.json.gz")
    entry = json.loads((home / "manifest-files.json").read_text())
    path.write_bytes(b"no gzip")
    write_manifest(home / "manifest-files.json", json.dumps(entry | {"md5Checksum": _md5(b"no gzip")}))

    with pytest.raises(SpoiledExportError, match="cannot be unpacked"):
        read_all(Export(str(tmp_path)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_full_export(tmp_path, ARN, [ITEMS[:3], ITEMS[3:]], exported_ms=AT_MS)
    path = next(tmp_path.rglob("*.json.gz"))
    path.unlink()

    with pytest.raises(WorldError, match=f"the data file {path} is missing"):
        Export(str(tmp_path)).describe()


def test_another_table_is_refused(tmp_path: Path) -> None:
    write_full_export(tmp_path, ARN.replace("ProductCatalog", "other"), [ITEMS], exported_ms=AT_MS)

    with pytest.raises(SpoiledExportError, match=f"is of the table {ARN[:-14]}other, not of {ARN}"):
        read_all(Export(str(tmp_path)))


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"version": "2031-01-01"}, "has version 2031-01-01, which is not known here; known are 2020-06-30 and"),
        ({"outputFormat": "CSV"}, "is not the summary of an export: Invalid enum value 'CSV'"),
        ({"exportType": "INCREMENTAL_EXPORT"}, "does not say as of when the export holds the table"),
        ({"itemCount": 26}, "have 25 items, and the export has 26"),
        ({"tableArn": None}, "is not the summary of an export"),
    ],
)
def test_a_summary_that_is_not_understood_is_refused(tmp_path: Path, told: dict[str, Any], sentence: str) -> None:
    home = write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    summary = json.loads((home / "manifest-summary.json").read_text())
    write_manifest(home / "manifest-summary.json", json.dumps(summary | told))

    with pytest.raises(WorldError, match=sentence):
        Export(str(tmp_path)).describe()


@pytest.mark.parametrize("name", ["manifest-summary.json", "manifest-files.json"])
@pytest.mark.parametrize("ending", [".checksum", ".md5"])
def test_a_manifest_that_does_not_match_its_checksum_is_refused(tmp_path: Path, name: str, ending: str) -> None:
    home = write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    manifest = home / name
    manifest.write_text(manifest.read_text() + " ")
    manifest.with_suffix(".checksum").rename(manifest.with_suffix(ending))

    with pytest.raises(WorldError, match=f"{manifest} does not match its checksum"):
        Export(str(tmp_path)).describe()


def test_a_line_of_the_files_manifest_that_is_broken_is_named(tmp_path: Path) -> None:
    home = write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    write_manifest(home / "manifest-files.json", (home / "manifest-files.json").read_text() + '\n{"itemCount": 1}')

    with pytest.raises(WorldError, match=r"manifest-files.json:2 is no data file: .*missing required field"):
        Export(str(tmp_path)).describe()


def test_the_export_ion_extra_is_named_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS, output_format="ION")
    monkeypatch.delitem(sys.modules, "tailrace.sources.dynamodb.export_ion", raising=False)
    monkeypatch.setitem(sys.modules, "amazon.ion.exceptions", None)

    with pytest.raises(
        WorldError, match=r"the package amazon is not installed; install it with .*tailrace\[export-ion\]"
    ):
        Export(str(tmp_path)).describe()


@pytest.fixture
def s3(tmp_path: Path, no_aws_environment: pytest.MonkeyPatch) -> Iterator[S3Server]:
    server = S3Server(tmp_path)
    no_aws_environment.setenv("AWS_ENDPOINT_URL_S3", server.url)
    no_aws_environment.setenv("AWS_ACCESS_KEY_ID", "key")
    no_aws_environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    yield server
    server.close()


def _session() -> AwsSession:
    return AwsSession(AwsSettings(region="eu-west-1"))


def test_an_export_is_read_from_s3(tmp_path: Path, s3: S3Server) -> None:
    write_full_export(tmp_path / "some" / "prefix", ARN, [ITEMS[:5], ITEMS[5:10], ITEMS[10:]], exported_ms=AT_MS)

    export = Export("s3://bucket/some/prefix/", _session())

    assert export.describe().location == "s3://bucket/some/prefix/AWSDynamoDB/01693685827463-2d8752fd"
    assert images(read_all(export, limit_bytes=300)) == ITEMS


def test_a_download_goes_on_where_the_connection_broke(tmp_path: Path, s3: S3Server) -> None:
    write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    export = Export("s3://bucket", _session())
    export.describe()
    s3.breaks_after = [40, 0, 10]

    assert images(read_all(export)) == ITEMS
    assert s3.ranges == ["bytes=40-", "bytes=40-", "bytes=50-"]


def test_a_download_that_breaks_again_and_again_fails(tmp_path: Path, s3: S3Server) -> None:
    write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    export = Export("s3://bucket", _session())
    export.describe()
    s3.breaks_after = [40] + [0] * 10

    with pytest.raises(ReadError, match=r"s3:GetObject of s3://bucket/AWSDynamoDB/.* failed") as told:
        read_all(export)
    assert told.value.failure is ReadFailure.UNAVAILABLE


@pytest.mark.parametrize(
    ("bucket", "denied", "sentence", "failure"),
    [
        ("other", False, "s3:ListBucket of s3://other/.* failed: .*NoSuchBucket", ReadFailure.GONE),
        ("bucket", True, r"allow s3:GetObject on arn:aws:s3:::bucket/\* and s3:ListBucket", ReadFailure.DENIED),
    ],
)
def test_what_s3_refuses_is_told(s3: S3Server, bucket: str, denied: bool, sentence: str, failure: ReadFailure) -> None:
    s3.denied = denied

    with pytest.raises(ReadError, match=sentence) as told:
        Export(f"s3://{bucket}/prefix", _session())
    assert told.value.failure is failure


def test_an_object_that_was_replaced_during_its_download_fails(tmp_path: Path, s3: S3Server) -> None:
    write_full_export(tmp_path, ARN, [ITEMS], exported_ms=AT_MS)
    export = Export("s3://bucket", _session())
    (file,) = export.describe().files
    s3.breaks_after = [40]
    s3.replaced = {file.path: gzip.compress(b"another version")}

    with pytest.raises(ReadError, match="PreconditionFailed"):
        read_all(export)


def test_a_location_without_bucket_or_session_is_refused() -> None:
    with pytest.raises(WorldError, match="s3:///prefix names no bucket"):
        Export("s3:///prefix")
    with pytest.raises(WorldError, match="cannot be read without AWS credentials"):
        Export("s3://bucket")


def _md5(content: bytes) -> str:
    return b64encode(hashlib.md5(content).digest()).decode()
