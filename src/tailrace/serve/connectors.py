"""The connectors that a process serves: their configurations as pipelines, checked and shown as Connect shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tailrace._version import __version__
from tailrace.config import Clients, ConnectorFile, FileErrors, LoadedPipeline, load_connector
from tailrace.config.connectors import BY_CLASS
from tailrace.config.connectors.connector import Connector, Key
from tailrace.config.connectors.translate import connector_of, keys_of
from tailrace.config.secrets import MASK, is_secret

_GROUP: Final = "Tailrace"


def load(name: str, config: Mapping[str, str], clients: Clients) -> LoadedPipeline:
    """Load the pipeline of a connector. Raises `FileErrors` with all that is wrong."""
    return load_connector(ConnectorFile("", name, dict(config)), clients)


def shown(config: Mapping[str, str]) -> dict[str, str]:
    """Return a configuration with `***` for each secret; what refers to one is none."""
    connector = connector_of(config)
    keys = {} if connector is None else keys_of(connector)

    def is_hidden(name: str, value: str) -> bool:
        key = keys.get(name)
        secret = is_secret(name) or (key is not None and key.type == "PASSWORD")
        return secret and bool(value) and not value.startswith("${")

    return {name: MASK if is_hidden(name, value) else value for name, value in config.items()}


def with_secrets_of(config: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Return a configuration that was shown and is given back: what is masked keeps its value."""
    return {name: before.get(name, value) if value == MASK else value for name, value in config.items()}


def plugins() -> list[dict[str, str]]:
    """Return the connectors that can be created, as `GET /connector-plugins` lists them."""
    return [{"class": name, "type": "source", "version": __version__} for name in BY_CLASS]


def find_plugin(name: str) -> Connector | None:
    """Return a connector by its class, or by the last part of it, as Connect takes either."""
    if name in BY_CLASS:
        return BY_CLASS[name]
    return next((each for known, each in BY_CLASS.items() if known.rpartition(".")[2] == name), None)


def definitions(connector: Connector) -> list[dict[str, Any]]:
    """Return a connector's keys, as `GET /connector-plugins/…/config` gives them."""
    return [_definition(key, order) for order, key in enumerate(keys_of(connector).values(), start=1)]


def validation(name: str, connector: Connector, config: Mapping[str, str], clients: Clients) -> dict[str, Any]:
    """Return what `PUT /connector-plugins/…/config/validate` answers: each key with its errors."""
    errors: dict[str, list[str]] = {}
    try:
        load(config.get("name", "") or "connector", config, clients)
    except FileErrors as found:
        for error in found.errors:
            sentence = f"{error.message}; {error.hint}" if error.hint else error.message
            errors.setdefault(error.path, []).append(sentence)
    keys = keys_of(connector)
    masked = shown(config)
    names = [*keys, *(each for each in (*config, *errors) if each not in keys)]
    configs = [
        {
            "definition": _definition(keys.get(each) or Key(each, "STRING", ""), order),
            "value": {
                "name": each,
                "value": masked.get(each, keys[each].default if each in keys else None),
                "recommended_values": list(keys[each].choices) if each in keys else [],
                "errors": errors.get(each, []),
                "visible": True,
            },
        }
        for order, each in enumerate(dict.fromkeys(names), start=1)
    ]
    return {"name": name, "error_count": len(errors), "groups": [_GROUP], "configs": configs}


def _definition(key: Key, order: int) -> dict[str, Any]:
    """Return a key as Connect's ConfigKeyInfo has it."""
    return {
        "name": key.name,
        "type": key.type,
        "required": key.required,
        "default_value": key.default,
        "importance": key.importance,
        "documentation": key.means if key.is_honoured else f"It does nothing here: {key.means}",
        "group": _GROUP,
        "order_in_group": order,
        "width": "MEDIUM",
        "display_name": key.name,
        "dependents": [],
        "order": order,
    }
