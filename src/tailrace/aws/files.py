"""Files to read, in a folder or in S3: listed, read whole, or taken as a stream whose MD5 is known first.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.exceptions import ConnectionError as AwsConnectionError
from urllib3.exceptions import HTTPError

from tailrace.aws.errors import failure_of
from tailrace.aws.session import AwsSession
from tailrace.core.ports import ReadError, ReadFailure
from tailrace.errors import WorldError, excerpt

S3_SCHEME: Final = "s3://"
_BLOCK_BYTES: Final = 1 << 20
_BREAKS_MAX: Final = 5
"""How often a download is taken up again without a new byte between."""
_CONFIG: Final = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 5}, max_pool_connections=32
)


class Listing(NamedTuple):
    """What a folder holds."""

    folders: tuple[str, ...]
    """Paths of the folders in it."""
    sizes: Mapping[str, int]
    """The bytes of each file in it, by path."""


class VerifiedFile(NamedTuple):
    """A file that no longer changes."""

    stream: IO[bytes]
    """At its beginning; the caller closes it."""
    md5: bytes


class Files(Protocol):
    """Files under one root; a path is its parts joined by `/`. Safe for many threads; every method raises `ReadError`.

    A file that does not exist is GONE.
    """

    def uri(self, path: str) -> str:
        """Return how people name a path."""
        ...

    def list(self, folder: str) -> Listing:
        """List a folder; one that does not exist is empty."""
        ...

    def read(self, path: str, bytes_max: int) -> bytes:
        """Return a whole file of at most so many bytes."""
        ...

    def take(self, path: str) -> VerifiedFile:
        """Take a file of any size and compute its MD5, in bounded memory."""
        ...


def open_location(location: str, session: AwsSession | None) -> tuple[Files, str]:
    """Return the files and the folder that `s3://bucket/prefix`, or a path of this machine, names.

    Raises WorldError when S3 cannot be used.
    """
    if not location.startswith(S3_SCHEME):
        return Folder(), str(Path(location).absolute())
    bucket, _, prefix = location.removeprefix(S3_SCHEME).partition("/")
    if not bucket:
        raise WorldError(f"{location} names no bucket", hint="give s3://bucket/prefix")
    if session is None:
        raise WorldError(f"{location} cannot be read without AWS credentials", hint="check the source's AWS settings")
    return Bucket(session.client("s3", _CONFIG), bucket), prefix.strip("/")


class Folder:
    """The files of this machine."""

    def uri(self, path: str) -> str:
        """Return the path."""
        return path

    def list(self, folder: str) -> Listing:
        """List a folder."""
        folders: list[str] = []
        sizes: dict[str, int] = {}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    else:
                        sizes[entry.path] = entry.stat().st_size
        except FileNotFoundError:
            return Listing((), {})
        except OSError as error:
            raise _unreadable(folder, error) from error
        return Listing(tuple(sorted(folders)), sizes)

    def read(self, path: str, bytes_max: int) -> bytes:
        """Return a whole file."""
        try:
            with Path(path).open("rb") as file:
                return _bounded(path, file.read(bytes_max + 1), bytes_max)
        except OSError as error:
            raise _unreadable(path, error) from error

    def take(self, path: str) -> VerifiedFile:
        """Open a file and read it once for its MD5."""
        try:
            file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
            file.seek(0)
        except OSError as error:
            raise _unreadable(path, error) from error
        return VerifiedFile(file, digest)


class Bucket:
    """The objects of an S3 bucket. A file is taken by a download to a temporary file of this machine."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def uri(self, path: str) -> str:
        """Return the object's address."""
        return f"{S3_SCHEME}{self._bucket}/{path}"

    def list(self, folder: str) -> Listing:
        """List the objects right under a prefix."""
        prefix = f"{folder}/" if folder else ""
        folders: list[str] = []
        sizes: dict[str, int] = {}
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, Delimiter="/"
            )
            for page in pages:
                folders += [each["Prefix"].rstrip("/") for each in page.get("CommonPrefixes", ())]
                sizes.update((each["Key"], each["Size"]) for each in page.get("Contents", ()) if each["Key"] != prefix)
        except (BotoCoreError, ClientError) as error:
            raise self._failed("s3:ListBucket", folder, error) from error
        return Listing(tuple(folders), sizes)

    def read(self, path: str, bytes_max: int) -> bytes:
        """Return a whole object."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=path)
            with answer["Body"] as body:
                return _bounded(self.uri(path), body.read(bytes_max + 1), bytes_max)
        except (BotoCoreError, ClientError, HTTPError, OSError) as error:
            raise self._failed("s3:GetObject", path, error) from error

    def take(self, path: str) -> VerifiedFile:
        """Download an object, going on where the connection broke."""
        digest = hashlib.md5(usedforsecurity=False)
        file = tempfile.TemporaryFile(prefix="tailrace-export-")  # noqa: SIM115 - the caller closes it
        try:
            for block in self._blocks(path):
                digest.update(block)
                try:
                    file.write(block)
                except OSError as error:
                    raise WorldError(
                        f"{self.uri(path)} cannot be downloaded to {tempfile.gettempdir()}: {error.strerror}",
                        hint="free space there, or set TMPDIR to a folder with more",
                    ) from error
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return VerifiedFile(file, digest.digest())

    def _blocks(self, path: str) -> Iterator[bytes]:
        """Yield the object's bytes; the same version of it throughout."""
        offset, breaks, etag = 0, 0, ""
        while True:
            place = {"Range": f"bytes={offset}-", "IfMatch": etag} if offset else {}
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=path, **place)
                end, etag = offset + answer["ContentLength"], answer["ETag"]
                with answer["Body"] as body:
                    while block := body.read(_BLOCK_BYTES):
                        offset, breaks = offset + len(block), 0
                        yield block
                if offset >= end:
                    return
                raise AwsConnectionError(error="the answer was cut short")
            except (BotoCoreError, HTTPError, OSError) as error:
                breaks += 1
                if breaks > _BREAKS_MAX:
                    raise self._failed("s3:GetObject", path, error) from error
            except ClientError as error:
                raise self._failed("s3:GetObject", path, error) from error

    def _failed(self, action: str, path: str, error: Exception) -> ReadError:
        uri, cause, failure = self.uri(path), excerpt(str(error)), ReadFailure.UNAVAILABLE
        hint = "check the network, AWS_ENDPOINT_URL_S3 and the region of the bucket"
        if isinstance(error, ClientError):
            failure, hint = failure_of(error), ""
        if failure is ReadFailure.DENIED:
            hint = (
                f"allow s3:GetObject on arn:aws:s3:::{self._bucket}/* and s3:ListBucket on arn:aws:s3:::{self._bucket}"
            )
        return ReadError(f"{action} of {uri} failed: {cause}", failure, hint=hint)


def _bounded(name: str, content: bytes, bytes_max: int) -> bytes:
    if len(content) > bytes_max:
        raise ReadError(f"{name} is larger than {bytes_max >> 20} MiB", ReadFailure.UNAVAILABLE)
    return content


def _unreadable(path: str, error: OSError) -> ReadError:
    failure = ReadFailure.GONE if isinstance(error, FileNotFoundError) else ReadFailure.DENIED
    return ReadError(f"{path} cannot be read: {error.strerror}", failure)
