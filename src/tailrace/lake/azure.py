"""A lake's location in Azure Blob Storage, or Data Lake Storage, whose files are blobs too.

Sources: https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations
and https://learn.microsoft.com/rest/api/storageservices/put-block-list
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobBlock, BlobPrefix, ContainerClient

from tailrace.errors import UnreachableError, WorldError, excerpt
from tailrace.lake.location import StoredFile

PART_BYTES: Final = 8 << 20
"""A file that is larger is uploaded in blocks of this size, each of which is in memory."""
KEYS: Final = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY")
"""Where the key of the storage account is looked for; without one the identity of the process counts."""
_PAGE: Final = 1_000


class AzureContainer:
    """A prefix of a container, `abfss://container@account.dfs.core.windows.net/prefix`."""

    def __init__(self, uri: str, endpoint_url: str | None = None) -> None:
        """Find the credentials. Raises WorldError; whether the container exists shows later."""
        self.uri = uri
        parts = urlsplit(uri)
        self._prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        account = (parts.hostname or "").replace(".dfs.", ".blob.")
        key = next((os.environ[name] for name in KEYS if os.environ.get(name)), None)
        with self._telling("finding the credentials of", ""):
            self._container = ContainerClient(
                endpoint_url or f"https://{account}",
                parts.username or "",
                credential=key or DefaultAzureCredential(),
                max_single_put_size=PART_BYTES,
            )

    def create(self, name: str, content: bytes) -> bool:
        """Put a blob if there is none of this name."""
        with self._telling("creating", name):
            try:
                self._container.upload_blob(self._prefix + name, content, overwrite=False)
            except (ResourceExistsError, ResourceModifiedError):
                return False
        return True

    def upload(self, name: str, file: Path) -> bool:
        """Put a blob, in blocks if it is large, if there is none of this name.

        The library names blocks after their offsets, so that two writers would commit blocks of one another.
        """
        if file.stat().st_size <= PART_BYTES:
            return self.create(name, file.read_bytes())
        with self._telling("uploading", name):
            blob = self._container.get_blob_client(self._prefix + name)
            blocks: list[BlobBlock] = []
            with file.open("rb") as stream:
                while content := stream.read(PART_BYTES):
                    blocks.append(BlobBlock(uuid.uuid4().hex))
                    blob.stage_block(blocks[-1].id, content)
            try:
                blob.commit_block_list(blocks, match_condition=MatchConditions.IfMissing)
            except (ResourceExistsError, ResourceModifiedError):
                return False
            except HttpResponseError as error:
                # The blocks are gone: another commit of this name, maybe this very one, was first.
                if _code(error) == "InvalidBlockList" and self.exists(name):
                    return False
                raise
        return True

    def read(self, name: str) -> bytes | None:
        """Return what a blob holds."""
        with self._telling("reading", name):
            try:
                content: bytes = self._container.download_blob(self._prefix + name).readall()
            except ResourceNotFoundError as error:
                if _code(error) == "ContainerNotFound":
                    raise
                return None
        return content

    def download(self, name: str, file: Path) -> bool:
        """Copy a blob, block by block."""
        with self._telling("reading", name), file.open("wb") as target:
            try:
                self._container.download_blob(self._prefix + name).readinto(target)
            except ResourceNotFoundError as error:
                if _code(error) == "ContainerNotFound":
                    raise
                return False
        return True

    def exists(self, name: str) -> bool:
        """Return whether there is a blob of this name."""
        with self._telling("looking for", name):
            return self._container.get_blob_client(self._prefix + name).exists()

    def names(self, folder: str, after: str, most: int) -> list[str]:
        """List a prefix; a service that does not know where to start lists all of it."""
        prefix = f"{self._prefix}{folder}/"
        start: dict[str, Any] = {"start_from": prefix + after} if after else {}
        with self._telling("listing", folder):
            found = self._container.walk_blobs(prefix, delimiter="/", results_per_page=min(most + 1, _PAGE), **start)
            names = (each.name.removeprefix(prefix) for each in found if not isinstance(each, BlobPrefix))
            return list(islice((name for name in names if name > after), most))

    def files(self, folder: str) -> Iterator[StoredFile]:
        """List a prefix, page by page."""
        with self._telling("listing", folder):
            for each in self._container.list_blobs(f"{self._prefix}{folder}/"):
                modified_ms = int(each.last_modified.timestamp() * 1_000)
                yield StoredFile(each.name.removeprefix(self._prefix), each.size, modified_ms)

    def remove(self, name: str) -> None:
        """Delete a blob."""
        with self._telling("deleting", name):
            try:
                self._container.delete_blob(self._prefix + name)
            except ResourceNotFoundError as error:
                if _code(error) == "ContainerNotFound":
                    raise

    def remove_unfinished(self, before_ms: int, *, dry_run: bool) -> int:
        """Do nothing: the store forgets blocks without a blob after a week, and does not list them."""
        del before_ms, dry_run
        return 0

    @contextmanager
    def _telling(self, doing: str, name: str) -> Iterator[None]:
        try:
            yield
        except (AzureError, OSError) as error:
            said = f"{doing} {self.uri}/{name} failed: {excerpt(str(error))}"
            status = error.status_code if isinstance(error, HttpResponseError) else None
            if isinstance(error, ClientAuthenticationError) or status in {401, 403}:
                hint = (
                    "grant Storage Blob Data Contributor on the container, and set AZURE_CLIENT_ID and its like, or "
                    f"{KEYS[0]}"
                )
                raise WorldError(said, hint=hint) from error
            if isinstance(error, ResourceNotFoundError):
                raise WorldError(said, hint="make the container, or correct lake.location") from error
            if status is not None and status < 429 and status != 408:
                raise WorldError(said, hint="correct lake.location") from error
            raise UnreachableError(said, hint="check the network and lake.endpoint_url") from error


def _code(error: HttpResponseError) -> str:
    """Return the storage service's own code of an error, which its library adds."""
    return str(getattr(error, "error_code", ""))
