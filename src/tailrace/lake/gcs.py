"""A lake's location in Google Cloud Storage.

Sources: https://cloud.google.com/storage/docs/request-preconditions and
https://cloud.google.com/storage/docs/resumable-uploads
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    GoogleAPIError,
    NotFound,
    PreconditionFailed,
    Unauthorized,
)
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud import storage
from requests import RequestException

from tailrace.errors import UnreachableError, WorldError, excerpt
from tailrace.lake.location import StoredFile

PART_BYTES: Final = 8 << 20
"""A file that is larger is uploaded in parts of this size, each of which is in memory."""
_IF_ABSENT: Final = 0
"""No object has this generation."""
_TIMEOUT_S: Final = 60


class GcsBucket:
    """A prefix of a bucket, `gs://bucket/prefix`."""

    def __init__(self, uri: str, endpoint_url: str | None = None) -> None:
        """Find the application default credentials; an `endpoint_url` over HTTP gets none. Raises WorldError."""
        self.uri = uri
        name, _, prefix = uri.removeprefix("gs://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        is_open = (endpoint_url or "").startswith("http://")
        with self._telling("finding the credentials of", ""):
            client = storage.Client(
                project="",
                credentials=AnonymousCredentials() if is_open else None,  # type: ignore[no-untyped-call]
                client_options={"api_endpoint": endpoint_url} if endpoint_url else None,
            )
        self._bucket = client.bucket(name)

    def create(self, name: str, content: bytes) -> bool:
        """Insert an object if there is none of this name."""
        with self._telling("creating", name):
            try:
                blob = self._bucket.blob(self._prefix + name)
                blob.upload_from_string(content, if_generation_match=_IF_ABSENT, timeout=_TIMEOUT_S)
            except PreconditionFailed:
                return False
        return True

    def upload(self, name: str, file: Path) -> bool:
        """Insert an object, resumably if it is large, if there is none of this name."""
        if file.stat().st_size <= PART_BYTES:
            return self.create(name, file.read_bytes())
        with self._telling("uploading", name):
            try:
                blob = self._bucket.blob(self._prefix + name, chunk_size=PART_BYTES)
                blob.upload_from_filename(str(file), if_generation_match=_IF_ABSENT, timeout=_TIMEOUT_S)
            except PreconditionFailed:
                return False
        return True

    def read(self, name: str) -> bytes | None:
        """Return what an object holds."""
        with self._telling("reading", name):
            try:
                content: bytes = self._bucket.blob(self._prefix + name).download_as_bytes(timeout=_TIMEOUT_S)
            except NotFound:
                self._require_bucket()
                return None
        return content

    def download(self, name: str, file: Path) -> bool:
        """Copy an object."""
        with self._telling("reading", name), file.open("wb") as target:
            try:
                self._bucket.blob(self._prefix + name).download_to_file(target, timeout=_TIMEOUT_S)
            except NotFound:
                self._require_bucket()
                return False
        return True

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""
        with self._telling("looking for", name):
            found: bool = self._bucket.blob(self._prefix + name).exists(timeout=_TIMEOUT_S)
            if not found:
                self._require_bucket()
            return found

    def names(self, folder: str, after: str, most: int) -> list[str]:
        """List a prefix."""
        prefix = f"{self._prefix}{folder}/"
        with self._telling("listing", folder):
            found = self._bucket.list_blobs(
                prefix=prefix, start_offset=prefix + after, delimiter="/", max_results=most + 1, timeout=_TIMEOUT_S
            )
            names = [each.name.removeprefix(prefix) for each in found]
        return [name for name in names if name > after][:most]

    def files(self, folder: str) -> Iterator[StoredFile]:
        """List a prefix, page by page."""
        with self._telling("listing", folder):
            for each in self._bucket.list_blobs(prefix=f"{self._prefix}{folder}/", timeout=_TIMEOUT_S):
                yield StoredFile(each.name.removeprefix(self._prefix), each.size, int(each.updated.timestamp() * 1_000))

    def remove(self, name: str) -> None:
        """Delete an object."""
        with self._telling("deleting", name):
            try:
                self._bucket.blob(self._prefix + name).delete(timeout=_TIMEOUT_S)
            except NotFound:
                self._require_bucket()

    def remove_unfinished(self, before_ms: int, *, dry_run: bool) -> int:
        """Do nothing: the store forgets resumable uploads after a week, and does not list them."""
        del before_ms, dry_run
        return 0

    def _require_bucket(self) -> None:
        """Tell a missing object from a missing bucket: by a listing, which needs no further right. Raises NotFound."""
        list(self._bucket.list_blobs(max_results=1, timeout=_TIMEOUT_S))

    @contextmanager
    def _telling(self, doing: str, name: str) -> Iterator[None]:
        try:
            yield
        except (GoogleAPIError, GoogleAuthError, RequestException, OSError) as error:
            said = f"{doing} {self.uri}/{name} failed: {excerpt(str(error))}"
            if isinstance(error, DefaultCredentialsError):
                hint = "set GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login"
                raise WorldError(said, hint=hint) from error
            if isinstance(error, Forbidden | Unauthorized):
                raise WorldError(said, hint=f"grant Storage Object User on the bucket {self._bucket.name}") from error
            if isinstance(error, NotFound):
                raise WorldError(said, hint="make the bucket, or correct lake.location") from error
            if isinstance(error, GoogleAPICallError) and (error.code or 500) < 429:
                raise WorldError(said, hint="correct lake.location") from error
            raise UnreachableError(said, hint="check the network and lake.endpoint_url") from error
