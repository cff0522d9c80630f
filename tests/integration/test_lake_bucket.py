"""A lake's location in a real store: created once, whatever races, fails, or answers late and twice."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from support import fake_gcs as gcs_server
from support.azurite_store import CONTAINER, KEY, Azurite
from support.fake_gcs import FakeGcs
from support.names import unique
from support.seaweed import BUCKET, CREDENTIALS, REGION, Seaweed
from tailrace.aws.session import AwsSettings
from tailrace.errors import WorldError
from tailrace.lake import azure, bucket, gcs
from tailrace.lake.azure import AzureContainer
from tailrace.lake.bucket import Bucket
from tailrace.lake.gcs import GcsBucket
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


@pytest.fixture(params=["folder", "bucket", "gcs", "azure"])
def location(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    prefix = unique("prefix")
    match request.param:
        case "folder":
            return Folder(tmp_path / "lake")
        case "bucket":
            return bucket_at(request.getfixturevalue("seaweed").endpoint_url, prefix)
        case "gcs":
            return GcsBucket(f"gs://{gcs_server.BUCKET}/{prefix}", request.getfixturevalue("fake_gcs").endpoint_url)
        case _:
            return azure_at(request.getfixturevalue("azurite"), prefix, monkeypatch)


def azure_at(server: Azurite, prefix: str, environment: pytest.MonkeyPatch, key: str = KEY) -> AzureContainer:
    environment.setenv("AZURE_STORAGE_ACCOUNT_KEY", key)
    return AzureContainer(f"abfss://{CONTAINER}@account.dfs.core.windows.net/{prefix}", server.endpoint_url)


def test_of_sixteen_writers_of_one_name_one_creates_it(location: Location) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        for name in (f"a/{number}" for number in range(3)):
            created = list(pool.map(lambda writer, name=name: location.create(name, b"%d" % writer), range(WRITERS)))
            assert sum(created) == 1
            assert location.read(name) == b"%d" % created.index(True)


def test_an_upload_in_parts_is_whole_and_does_not_replace_another(
    location: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (bucket, gcs, azure):
        monkeypatch.setattr(each, "PART_BYTES", 5 << 20)
    files = [tmp_path / str(writer) for writer in range(4)]
    for writer, file in enumerate(files):
        file.write_bytes(bytes([writer]) * (6 << 20))
    with ThreadPoolExecutor(len(files)) as pool:
        created = list(pool.map(lambda file: location.upload("a/large", file), files))
    # SeaweedFS looks for the object before it completes an upload, not as one step, so several may complete together.
    assert any(created) if isinstance(location, Bucket) else sum(created) == 1
    content = location.read("a/large")
    assert content in {file.read_bytes() for file, done in zip(files, created, strict=True) if done}
    assert not any(location.upload("a/large", file) for file in files)
    assert location.read("a/large") == content
    assert location.download("a/large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert not location.download("a/none", tmp_path / "copy")


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
    if isinstance(location, GcsBucket | AzureContainer):
        assert location.remove_unfinished(1 << 62, dry_run=False) == 0  # the store itself forgets them
        return
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


def test_keys_of_azure_that_are_wrong_are_one_sentence(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    location = azure_at(azurite, "x", monkeypatch, key="eHg=")
    with pytest.raises(WorldError, match="grant Storage Blob Data Contributor on the container"):
        location.create("a", b"")


def test_buckets_that_are_missing_are_one_sentence(
    fake_gcs: FakeGcs, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    missing: list[Location] = [
        GcsBucket("gs://none/x", fake_gcs.endpoint_url),
        AzureContainer("abfs://none@account.dfs.core.windows.net/x", azurite.endpoint_url),
    ]
    for location in missing:
        for use in (
            partial(location.create, "a", b""),
            partial(location.read, "a"),
            partial(location.names, "a", "", 1),
        ):
            with pytest.raises(WorldError, match=r"make the (bucket|container), or correct lake\.location"):
                use()
