"""Makes the document of a pipeline of a connector's configuration: each key is honoured, explained or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Final

import msgspec

from tailrace.config.connectors import BY_CLASS, framework
from tailrace.config.connectors.connector import Connector, Draft, Key
from tailrace.config.connectors.connector_file import ConnectorFile, read_text
from tailrace.config.document import Document
from tailrace.config.interpolate import Interpolated, LookUp, interpolate
from tailrace.config.problem import InvalidError, nearest, quoted
from tailrace.config.secrets import is_secret, secrets_in
from tailrace.kafka import java_clients, java_file

_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")
_KAFKA: Final = ("kafka",)


class Note(msgspec.Struct, frozen=True):
    """A key that does nothing here, and why."""

    key: str
    why: str


class Clients(msgspec.Struct):
    """The properties of Kafka clients that are given beside a connector: of `--kafka`, or of `tailrace serve`."""

    properties: dict[str, str] = {}
    """By their Java names, or librdkafka's."""
    path: str = ""
    lines: dict[str, int] = {}


def read_clients(path: FilePath) -> Clients:
    """Read a file of properties. Raises `FileError`."""
    found = java_file.parse(read_text(path))
    return Clients({each.name: each.value for each in found}, str(path), {each.name: each.line for each in found})


def connector_of(config: Mapping[str, str]) -> Connector | None:
    """Return which connector a configuration is of; None for one that is not known."""
    return BY_CLASS.get(config.get("connector.class", "").strip())


def keys_of(connector: Connector) -> dict[str, Key]:
    """Return all keys that a connector's configuration may have by name, but those of families."""
    cloud = framework.CLOUD_KEYS if connector.managed_formats else ()
    return {each.name: each for each in (*framework.KEYS, *cloud, *connector.keys)}


def document_of(given: ConnectorFile, clients: Clients, look_up: LookUp) -> tuple[Document, list[Note]]:
    """Return the document of the pipeline that a connector's configuration is, and notes on what means nothing here.

    What is wrong is in the document's `problems`, each by the connector's own key.
    """
    folder = FilePath(given.path).parent
    document = Document(given.path, folder, look_up=look_up)
    document.names = {(key,): key for key in given.config}
    document.lines = {(key,): line for key, line in given.lines.items()}
    config = _interpolated(document, given.config, folder)
    connector = connector_of(config)
    if connector is None:
        _refuse_class(document, config)
        return document, []
    name = given.name or config.get("name", "").strip() or FilePath(given.path).stem
    if connector.takes_any:
        known: dict[str, Key] = {}
        own = {key: value for key, value in config.items() if key not in {"connector.class", "name", "tasks.max"}}
    else:
        known, own = keys_of(connector), config
    draft = Draft(name, own, known)
    draft.put(_NAME.sub("-", name), "name", key="name")
    connector.build(draft)
    if not connector.takes_any:
        framework.put_common(draft, clients.properties, connector.managed_formats)
        _judge_keys(draft, known)
    for key, (message, hint) in draft.problems.items():
        document.add((key,), message, hint)
    document.data = draft.data
    for path, key in draft.names.items():
        document.names[path] = key
        if key in given.lines:
            document.lines[path] = given.lines[key]
    notes = [Note(key, why) for key, why in draft.notes.items()]
    notes += _add_clients(document, draft, clients)
    return document, notes


def _interpolated(document: Document, config: Mapping[str, str], folder: FilePath) -> dict[str, str]:
    """Fill in the references of all values, and note which of them are secret."""
    connector = connector_of(config)
    known = keys_of(connector) if connector is not None else {}
    filled: dict[str, str] = {}
    for key, value in config.items():
        try:
            filled[key] = interpolate(value, folder, document.look_up)
        except InvalidError as error:
            document.add((key,), error.message, error.hint)
            filled[key] = ""
            continue
        text = filled[key]
        pieces = text.pieces if isinstance(text, Interpolated) else ()
        document.interpolated.update(pieces)
        document.secrets.update(secrets_in(text))
        if text and (is_secret(key) or (key in known and known[key].type == "PASSWORD")):
            document.secrets.update((text, *pieces))
    return filled


def _refuse_class(document: Document, config: Mapping[str, str]) -> None:
    known = ", ".join(each.classes[0] for each in BY_CLASS.values())
    given = config.get("connector.class", "").strip()
    if not given:
        document.add(("connector.class",), "is missing", f"the connectors that Tailrace replaces: {known}")
        return
    near = nearest(given, BY_CLASS)
    document.add(("connector.class",), f"{quoted(given)} is not known", near or f"those that are: {known}")


def _judge_keys(draft: Draft, known: Mapping[str, Key]) -> None:
    """Refuse keys that nobody knows, and note those that mean nothing."""
    for name in draft.config:
        key = known.get(name)
        if key is not None:
            if not key.is_honoured:
                draft.note(name, key.means)
        elif not framework.claims(name):
            draft.problem(name, "is not a key of this connector", nearest(name, known) or "take it out")


def _add_clients(document: Document, draft: Draft, clients: Clients) -> list[Note]:
    """Set the pipeline's `kafka` from the clients' properties; the connector's overrides win."""
    java = {name: value for name, value in clients.properties.items() if not framework.is_of_registry(name)}
    done = java_clients.translate(java)
    key, secret = draft.config.get("kafka.api.key", ""), draft.config.get("kafka.api.secret", "")
    if key and secret and "sasl.username" not in done.properties and "sasl.mechanism" not in done.properties:
        login = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
        for name, value in {**login, "sasl.username": key, "sasl.password": secret}.items():
            done.put(name, value, origin=name)
    overrides = java_clients.translate(document.data.get("kafka", {}))
    document.data["kafka"] = done.properties | overrides.properties
    where = clients.path or "--kafka"
    for name, origin in done.origins.items():
        path = ("kafka", name)
        document.names[path] = f"{where}: {origin}" if origin in clients.properties else origin
        document.secrets.update({done.properties[name]} if is_secret(name) else ())
    for name, refused in (done.refused | overrides.refused).items():
        path = ("kafka", name)
        document.names[path] = f"{where}: {name}"
        document.add(path, refused.message, refused.hint)
    if "bootstrap.servers" not in document.data["kafka"]:
        document.names[_KAFKA] = "--kafka"
        document.add(
            _KAFKA,
            "is missing",
            "give the brokers and the login: --kafka client.properties, with at least bootstrap.servers",
        )
    return [Note(name, why) for name, why in (done.notes | overrides.notes).items()]
