"""A lake's location in a real store: created once, whatever races, fails, or answers late and twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.names import unique
from support.seaweed import BUCKET, CREDENTIALS, REGION, Seaweed
from tailrace.aws.session import AwsSettings
from tailrace.errors import WorldError
from tailrace.lake import bucket
from tailrace.lake.bucket import Bucket
from tailrace.lake.location import Folder, last_name
from tailrace.lake.location import MaintainedLocation as Location

WRITERS = 16


def bucket_at(endpoint_url: str, prefix: str, secret: str = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]) -> Bucket:
    settings = AwsSettings(
        region=REGION,
        endpoints={"s3": endpoint_url},
        access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_access_key=secret,
    )
    return Bucket(f"s3://{BUCKET}/{prefix}", settings)


@pytest.fixture(params=["folder", "bucket"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    if request.param == "folder":
        yield Folder(tmp_path / "lake")
    else:
        yield bucket_at(request.getfixturevalue("seaweed").endpoint_url, unique("prefix"))


def test_of_sixteen_writers_of_one_name_one_creates_it(location: Location) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        for name in (f"a/{number}" for number in range(3)):
            created = list(pool.map(lambda writer, name=name: location.create(name, b"%d" % writer), range(WRITERS)))
            assert sum(created) == 1
            assert location.read(name) == b"%d" % created.index(True)


def test_an_upload_in_parts_is_whole_and_does_not_replace_another(
    location: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "PART_BYTES", 5 << 20)
    files = [tmp_path / str(writer) for writer in range(4)]
    for writer, file in enumerate(files):
        file.write_bytes(bytes([writer]) * (6 << 20))
    with ThreadPoolExecutor(len(files)) as pool:
        created = list(pool.map(lambda file: location.upload("a/large", file), files))
    # SeaweedFS looks for the object before it completes an upload, not as one step, so several may complete together.
    assert sum(created) == 1 if isinstance(location, Folder) else any(created)
    content = location.read("a/large")
    assert content in {file.read_bytes() for file, done in zip(files, created, strict=True) if done}
    assert not any(location.upload("a/large", file) for file in files)
    assert location.read("a/large") == content


def test_names_come_in_order_after_a_name(location: Location) -> None:
    for name in ("a/1", "a/2", "a/3", "b/1"):
        location.create(name, b"")
    assert location.names("a", "", 2) == ["1", "2"]
    assert location.names("a", "2", 10) == ["3"]
    assert location.names("none", "", 10) == []
    assert (location.read("a/9"), location.exists("a/9"), location.exists("a/1")) == (None, False, True)


def test_files_are_listed_and_removed(location: Location) -> None:
    for name in ("a/1", "a/b/2", "c/3"):
        location.create(name, b"four")
    since_ms = time.time() * 1_000 - 60_000
    found = list(location.files("a"))
    assert sorted((each.name, each.size_bytes) for each in found) == [("a/1", 4), ("a/b/2", 4)]
    assert all(each.modified_ms > since_ms for each in found)
    location.remove("a/1")
    location.remove("a/1")
    assert [each.name for each in location.files("a")] == ["a/b/2"]
    assert list(location.files("none")) == []


def test_what_unfinished_uploads_left_is_removed(location: Location, tmp_path: Path, seaweed: Seaweed) -> None:
    location.create("a/1", b"")
    prefix = location.uri.removeprefix(f"s3://{BUCKET}/")
    if isinstance(location, Folder):
        (tmp_path / "lake" / "_tailrace" / "partial" / "half").write_bytes(b"h")
    else:
        seaweed.client().create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/a/2")
    now_ms = int(time.time() * 1_000)
    assert location.remove_unfinished(now_ms - 60_000, dry_run=False) == 0
    for dry_run, left in ((True, 1), (False, 1), (False, 0)):
        assert location.remove_unfinished(now_ms + 60_000, dry_run=dry_run) == left
    assert location.exists("a/1")


def test_the_last_name_is_found(location: Location) -> None:
    for number in (0, 5, 70_000, 1 << 40):
        location.create(f"log/{number:020}.json", b"")
    for known in ("", f"{5:020}.json", f"{1 << 40:020}.json"):
        found = last_name(location, "log", lambda name: int(name[:20]), lambda number: f"{number:020}.json", known)
        assert found == f"{1 << 40:020}.json"


def test_keys_that_are_wrong_are_one_sentence(seaweed: Seaweed) -> None:
    location = bucket_at(seaweed.endpoint_url, "x", secret="x" * 40)
    with pytest.raises(WorldError, match="allow s3:PutObject, s3:GetObject and s3:AbortMultipartUpload on arn:aws:s3"):
        location.create("a", b"")
