"""Schemas in a schema registry, by confluent-kafka's own client. Each id is asked for once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from tailrace.connect.errors import IncompatibleError
from tailrace.connect.registered import Registry
from tailrace.connect.written import Registered, SchemaVersions, Written
from tailrace.errors import UnreachableError, WorldError, excerpt
from tailrace.extras import brought_by

T = TypeVar("T")

_TIMEOUT_S: Final = 10
_LOGICAL_CLUSTER: Final = "bearer.auth.logical.cluster"


class SchemaRegistry:
    """Asks one registry. Safe for many threads; it holds no connection, as schemas are rarely new."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, str], int] = {}

    def id_of(self, subject: str, written: Written) -> int:
        """Return the id of a schema below a subject, registered if the file allows it.

        Raises `UnreachableError` while the registry does not answer well, `WorldError` when it refuses the schema.
        """
        found = self._ids.get((subject, written.text))
        if found is not None:
            return found
        with self._lock:
            found = self._ids.get((subject, written.text))
            if found is None:
                found = self._ids[subject, written.text] = self._id(subject, written)
        return found

    def versions(self, subject: str) -> list[int]:
        """Return the numbers of a subject's versions; none where there is no such subject. Raises as `id_of` does."""
        return self._asked(subject, lambda client: [int(each) for each in client.get_versions(subject)], missing=[])

    def version(self, subject: str, number: int) -> Registered:
        """Return a version. Raises as `id_of` does."""

        def ask(client: Any) -> Registered:
            found = client.get_version(subject, number)
            return Registered(int(found.schema_id), found.schema.schema_type, found.schema.schema_str)

        return self._asked(subject, ask)

    def register(self, subject: str, written: Written) -> None:
        """Register a schema as the newest version. Raises `IncompatibleError`, or else as `id_of` does."""
        try:
            self._id(subject, written)
        except WorldError as error:
            if _is_incompatible(error.__cause__):
                raise IncompatibleError(str(error)) from None
            raise

    def _id(self, subject: str, written: Written) -> int:
        from confluent_kafka.schema_registry import Schema  # noqa: PLC0415 - an optional extra

        schema = Schema(written.text, written.kind)
        if self._registry.auto_register:
            return self._asked(subject, lambda client: int(client.register_schema(subject, schema)), written)
        return self._asked(subject, lambda client: int(client.lookup_schema(subject, schema).schema_id), written)

    def _asked(
        self, subject: str, ask: Callable[[Any], T], written: Written | None = None, *, missing: T | None = None
    ) -> T:
        """Return what the registry answers, `missing` where it has no such subject."""
        with _client(self._registry) as client:
            try:
                return ask(client)
            except Exception as error:
                if missing is not None and getattr(error, "http_status_code", None) == 404:
                    return missing
                raise self._failed(subject, written, error) from error

    def _failed(self, subject: str, written: Written | None, error: Exception) -> WorldError:
        from confluent_kafka.schema_registry import SchemaRegistryError  # noqa: PLC0415 - an optional extra

        if isinstance(error, SchemaRegistryError):
            return self._refused(subject, written, error)
        # The client lets through what its HTTP library and its login raise.
        return UnreachableError(
            f"the schema registry {self._registry.properties['url']} does not answer: "
            f"{type(error).__name__}: {excerpt(str(error))}",
            hint="check that it runs, its URL and the login; it is asked again until it answers",
        )

    def _refused(self, subject: str, written: Written | None, error: Any) -> WorldError:
        url, status = self._registry.properties["url"], error.http_status_code
        said = excerpt(f"{error.error_message} (HTTP {status})")
        if status >= 500 or status in {408, 429}:
            return UnreachableError(
                f"the schema registry {url} failed: {said}", hint="it is asked again until it answers"
            )
        if status in {401, 403}:
            return WorldError(
                f"the schema registry {url} does not allow it: {said}",
                hint="check the login, and that it may read and write the subject " + subject,
            )
        if _is_incompatible(error):
            return WorldError(
                f"the schema of {subject} is not compatible with those that the registry has: {said}",
                hint="change the subject's compatibility level, or delete the subject if its records are gone",
            )
        if status == 404 and written is not None and not self._registry.auto_register:
            return WorldError(
                f"the registry has no such schema for {subject}, and it is not to be registered here: {said}",
                hint="register it, or set auto_register, in `connect` auto.register.schemas, to true; "
                f"the schema is {written.text}",
            )
        if status == 404:
            return WorldError(
                f"the schema registry {url} does not have this version of {subject}: {said}",
                hint="register it, or name one that is there",
            )
        return WorldError(f"the schema registry {url} refuses the schema of {subject}: {said}")


def _is_incompatible(error: Any) -> bool:
    return getattr(error, "http_status_code", None) == 409


def make_ids(registry: Registry) -> SchemaVersions:
    """Make what knows the ids of a registry. Raises `WorldError` where the client is not installed."""
    with brought_by("schema-registry"):
        import confluent_kafka.schema_registry  # noqa: F401, PLC0415 - an optional extra
    return SchemaRegistry(registry)


def _client(registry: Registry) -> Any:
    from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415 - an optional extra

    properties: dict[str, Any] = {"timeout": _TIMEOUT_S, "max.retries": 0}  # who asks tries again
    if "bearer.auth.credentials.source" in registry.properties:
        properties[_LOGICAL_CLUSTER] = ""  # the client insists on it, and only Confluent Cloud has one
    properties |= registry.properties
    try:
        return SchemaRegistryClient.new_client(properties)
    except (ValueError, TypeError, OSError) as error:  # what it raises for properties and for files of certificates
        raise WorldError(
            f"the client of the schema registry {registry.properties['url']} cannot be made: {excerpt(str(error))}",
            hint="correct its properties",
        ) from error
