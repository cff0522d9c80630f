"""A lake's location in Amazon S3, or in a store with the same conditional writes.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html and
https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from tailrace.aws.errors import failure_of
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.core.ports import ReadFailure
from tailrace.errors import UnreachableError, WorldError, excerpt
from tailrace.lake.location import StoredFile

PART_BYTES: Final = 8 << 20
"""A file that is larger is uploaded in parts of this size, each of which is in memory."""
CONFLICTS_MAX: Final = 20
_CONFLICT_PAUSE_S: Final = 0.2
_ATTEMPTS: Final = 8

_NAMES_MAX: Final = 1_000
_IF_ABSENT: Final = {"IfNoneMatch": "*"}
_OF_MAINTENANCE: Final = {"DeleteObject", "ListBucketMultipartUploads"}
"""What writing does not need."""


class Bucket:
    """A prefix of a bucket, `s3://bucket/prefix`."""

    def __init__(self, uri: str, settings: AwsSettings) -> None:
        """Find the credentials. Raises WorldError; whether the bucket exists shows later."""
        self.uri = uri
        self._bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=16,
            s3={"addressing_style": "path" if "s3" in settings.endpoints else "auto"},
        )
        self._client = AwsSession(settings).client("s3", config)

    def create(self, name: str, content: bytes) -> bool:
        """Put an object if there is none of this name."""
        return self._if_absent("PutObject", name, lambda: self._put(name, content))

    def upload(self, name: str, file: Path) -> bool:
        """Put an object, in parts if it is large, if there is none of this name."""
        if file.stat().st_size <= PART_BYTES:
            return self.create(name, file.read_bytes())
        return self._if_absent("PutObject", name, lambda: self._put_parts(name, file))

    def read(self, name: str) -> bytes | None:
        """Return what an object holds."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            with answer["Body"] as body:
                content: bytes = body.read()
        except ClientError as error:
            if _code(error) in {"NoSuchKey", "404"}:
                return None
            raise self._failed("GetObject", name, error) from error
        except (BotoCoreError, HTTPClientError, OSError) as error:
            raise self._failed("GetObject", name, error) from error
        return content

    def download(self, name: str, file: Path) -> bool:
        """Copy an object, a part at a time."""
        with file.open("wb") as target:
            for begin in itertools.count(step=PART_BYTES):
                wanted = f"bytes={begin}-{begin + PART_BYTES - 1}"
                try:
                    answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name, Range=wanted)
                    with answer["Body"] as body:
                        content: bytes = body.read()
                except ClientError as error:
                    if _code(error) in {"NoSuchKey", "404"}:
                        return False
                    raise self._failed("GetObject", name, error) from error
                except (BotoCoreError, HTTPClientError, OSError) as error:
                    raise self._failed("GetObject", name, error) from error
                target.write(content)
                if target.tell() >= int(answer["ContentRange"].rpartition("/")[2]):
                    break
        return True

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""
        try:
            self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)
        except ClientError as error:
            if _code(error) in {"NoSuchKey", "NotFound", "404"}:
                return False
            raise self._failed("GetObject", name, error) from error
        except (BotoCoreError, HTTPClientError) as error:
            raise self._failed("GetObject", name, error) from error
        return True

    def names(self, folder: str, after: str, most: int) -> list[str]:
        """List a prefix."""
        prefix = f"{self._prefix}{folder}/"
        try:
            answer = self._client.list_objects_v2(
                Bucket=self._bucket,
                Prefix=prefix,
                StartAfter=prefix + after,
                Delimiter="/",
                MaxKeys=min(most, _NAMES_MAX),
            )
        except (BotoCoreError, ClientError, HTTPClientError) as error:
            raise self._failed("ListBucket", folder, error) from error
        return [each["Key"].removeprefix(prefix) for each in answer.get("Contents", ())]

    def files(self, folder: str) -> Iterator[StoredFile]:
        """List a prefix, page by page."""
        try:
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/"):
                for each in page.get("Contents", ()):
                    modified_ms = int(each["LastModified"].timestamp() * 1_000)
                    yield StoredFile(each["Key"].removeprefix(self._prefix), each["Size"], modified_ms)
        except (BotoCoreError, ClientError, HTTPClientError) as error:
            raise self._failed("ListBucket", folder, error) from error

    def remove(self, name: str) -> None:
        """Delete an object."""
        try:
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)
        except (BotoCoreError, ClientError, HTTPClientError) as error:
            raise self._failed("DeleteObject", name, error) from error

    def remove_unfinished(self, before_ms: int, *, dry_run: bool) -> int:
        """Abort uploads in parts."""
        try:
            pages = self._client.get_paginator("list_multipart_uploads")
            found = [
                {"Bucket": self._bucket, "Key": each["Key"], "UploadId": each["UploadId"]}
                for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix)
                for each in page.get("Uploads", ())
                if each["Initiated"].timestamp() * 1_000 < before_ms
            ]
        except (BotoCoreError, ClientError, HTTPClientError) as error:
            raise self._failed("ListBucketMultipartUploads", "", error) from error
        for upload in () if dry_run else found:
            try:
                self._client.abort_multipart_upload(**upload)
            except ClientError as error:
                if _code(error) != "NoSuchUpload":  # another process has aborted or completed it
                    raise self._failed("AbortMultipartUpload", "", error) from error
            except (BotoCoreError, HTTPClientError) as error:
                raise self._failed("AbortMultipartUpload", "", error) from error
        return len(found)

    def _put(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content, **_IF_ABSENT)

    def _put_parts(self, name: str, file: Path) -> None:
        of = {"Bucket": self._bucket, "Key": self._prefix + name}
        of["UploadId"] = self._client.create_multipart_upload(**of)["UploadId"]
        try:
            parts: list[dict[str, object]] = []
            with file.open("rb") as stream:
                while content := stream.read(PART_BYTES):
                    number = len(parts) + 1
                    etag = self._client.upload_part(**of, PartNumber=number, Body=content)["ETag"]
                    parts.append({"PartNumber": number, "ETag": etag})
            self._client.complete_multipart_upload(**of, MultipartUpload={"Parts": parts}, **_IF_ABSENT)
        except BaseException:
            with contextlib.suppress(BotoCoreError, ClientError, HTTPClientError):
                self._client.abort_multipart_upload(**of)
            raise

    def _if_absent(self, action: str, name: str, put: Callable[[], None]) -> bool:
        """Put an object; return False if there is one. Another put of the same name under way is waited for."""
        for _ in range(CONFLICTS_MAX):
            try:
                put()
            except ClientError as error:
                match _code(error):
                    case "PreconditionFailed" | "412":
                        return False
                    case "ConditionalRequestConflict" | "NoSuchUpload" | "409":
                        # Also when an answer got lost: the upload that it completed is no more.
                        if self.exists(name):
                            return False
                        time.sleep(_CONFLICT_PAUSE_S)
                    case _:
                        raise self._failed(action, name, error) from error
            except (BotoCoreError, HTTPClientError) as error:
                raise self._failed(action, name, error) from error
            else:
                return True
        raise UnreachableError(
            f"s3:{action} of {self._named(name)} failed: another upload of it does not end", hint="try again"
        )

    def _named(self, name: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{name}"

    def _failed(self, action: str, name: str, error: Exception) -> WorldError:
        said = f"s3:{action} of {self._named(name)} failed: {excerpt(str(error))}"
        if not isinstance(error, ClientError):
            return UnreachableError(said, hint="check the network, lake.endpoint_url and lake.region")
        if failure_of(error) is ReadFailure.DENIED and action in _OF_MAINTENANCE:
            return WorldError(said, hint=f"allow s3:{action} on the bucket {self._bucket} and what is in it")
        if failure_of(error) is ReadFailure.DENIED:
            return WorldError(
                said,
                hint=f"allow s3:PutObject, s3:GetObject and s3:AbortMultipartUpload on arn:aws:s3:::{self._bucket}/* "
                f"and s3:ListBucket on arn:aws:s3:::{self._bucket}",
            )
        if failure_of(error) is ReadFailure.GONE:
            return WorldError(said, hint="make the bucket, or correct lake.location")
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 501:
            return WorldError(said, hint="the store must have conditional writes (If-None-Match), as Amazon S3 has")
        return UnreachableError(said, hint="try again; check lake.endpoint_url and lake.region")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
