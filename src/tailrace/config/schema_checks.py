"""What is wrong with the `schema` key: a registry that nobody can log in to, and what does not go with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from tailrace import formats
from tailrace.config.interpolate import UNREAD_SECRET
from tailrace.config.model import Pipeline
from tailrace.config.problem import Finding, nearest, not_one_of, quoted
from tailrace.config.property_maps import RegistryProperties
from tailrace.config.record_schema import RegisteredSchema
from tailrace.connect.errors import DataError
from tailrace.connect.schema_reading import read_schema

_REGISTRY_URL: Final = re.compile(r"^(https?://[^/\s]+|mock://)")
_CLOUD: Final = re.compile(r"\.confluent\.cloud(:[0-9]+)?(/|,|$)")
_VERSION: Final = re.compile(r".+/[1-9][0-9]{0,8}")
_OF_CLOUD: Final = "bearer.auth.logical.cluster"
_BEARER: Final[Mapping[str, tuple[str, ...]]] = {
    "OAUTHBEARER": (
        "bearer.auth.client.id",
        "bearer.auth.client.secret",
        "bearer.auth.scope",
        "bearer.auth.issuer.endpoint.url",
    ),
    "OAUTHBEARER_AZURE_IMDS": (),
    "STATIC_TOKEN": ("bearer.auth.token",),
}
"""What each source of tokens needs; Confluent Cloud's registry needs `_OF_CLOUD`, too."""


def schema_findings(pipeline: Pipeline) -> Iterator[Finding]:
    """Check the `schema` key against the others."""
    schema = pipeline.record_schema
    if schema is None:
        return
    if isinstance(schema, RegisteredSchema):
        yield from _registry(schema.registry)
        if schema.mode == "document":
            yield from _documents(pipeline, schema)
            return
        if schema.mode == "declared":
            yield from _declared(pipeline, schema)
        else:
            for name in ("declared", "declared_versions", "undeclared"):
                if name in schema.model_fields_set:
                    yield ("schema", name), f"means nothing with `mode: {schema.mode}`", "set `mode: declared`"
        if schema.mode == "inferred" and schema.type == "protobuf" and schema.numbers == "decimal":
            remedy = "write `numbers: string`, or `numbers: double`, which rounds to 15 to 17 digits"
            yield ("schema", "numbers"), "is decimal, for which Protobuf has no type", remedy
    if pipeline.format.type != "debezium":
        remedy = "take `format` out; Connect's transform ExtractNewRecordState, in `connect`, leaves the item alone"
        yield ("schema",), f"needs the format debezium, not {pipeline.format.type}", remedy
    elif not pipeline.source.carries_changes:
        yield ("schema",), "is inferred from changes of tables, and the records of the streams are raw", "leave it out"


def beside_connect(pipeline: Pipeline) -> Iterator[Finding]:
    """Check that records are not to be made in two ways."""
    schema = pipeline.record_schema
    if pipeline.connect and schema is not None and schema.mode == "document":
        wrong = "makes records as Kafka Connect does, and `schema` with `mode: document` makes others"
        yield ("connect",), wrong, "keep one of them; the converters of `connect` take a registry, too"


def _declared(pipeline: Pipeline, schema: RegisteredSchema) -> Iterator[Finding]:
    for name in ("numbers", "scale"):
        if name in schema.model_fields_set:
            yield ("schema", name), "means nothing with `mode: declared`, where schemas say it", "leave it out"
    for key, tables in (("declared", schema.declared), ("declared_versions", schema.declared_versions)):
        for table in tables:
            if not pipeline.source.publishes(table):
                yield ("schema", key, table), f"{quoted(table)} is no table of the pipeline", "leave it out"
    for table, text in schema.declared_versions.items():
        path = ("schema", "declared_versions", table)
        if not _VERSION.fullmatch(text):
            yield path, f"{quoted(text)} is no version of a subject", "write e.g. `orders-item/3`"
        elif table in schema.declared:
            yield path, "is given beside `declared`", "keep one schema of the table"
    for table, text in schema.declared.items():
        path = ("schema", "declared", table)
        try:
            item = read_schema(schema.kind, text)
        except DataError as error:
            yield path, f"cannot be used: {error}", "write the schema here, or e.g. `${file:order.avsc}`"
            continue
        if item.type != "struct":
            yield path, f"is that of a {item.type}", "declare a record: an item is one"
    of_file = () if pipeline.source.carries_tables else pipeline.source.named_tables
    declared = schema.declared.keys() | schema.declared_versions.keys()
    missing = [each for each in of_file if each not in declared]
    if missing or not declared:
        of = f"of the table {missing[0]} is" if missing else "is"
        yield ("schema", "declared"), f"the schema {of} missing", "add e.g. `orders: ${file:order.avsc}` below it"


def _documents(pipeline: Pipeline, schema: RegisteredSchema) -> Iterator[Finding]:
    for name in ("numbers", "scale"):
        if name in schema.model_fields_set:
            wrong = "means nothing with `mode: document`, which holds items as JSON text"
            yield ("schema", name), wrong, "leave it out; the pipeline's own key `numbers` says how JSON has numbers"
    if not pipeline.source.carries_changes:
        yield ("schema",), "is for changes of tables, and the records of the streams are raw", "leave it out"
    elif formats.FORMATS[pipeline.format.type].document is None:
        wrong = f"has a document of its own for each format, and {pipeline.format.type} has schemas already"
        remedy = "leave `schema` out, and give `connect` the properties of the connector's converters"
        yield ("schema",), wrong, remedy


def _registry(values: RegistryProperties) -> Iterator[Finding]:
    path = ("schema", "registry")
    for name in values:
        if name not in RegistryProperties.known:
            known = nearest(name, RegistryProperties.known) or f"its keys are {', '.join(RegistryProperties.known)}"
            yield (*path, name), "is not a property of a schema registry's client", known
    if not (url := values.get("url")):
        yield (*path, "url"), "is missing", "add e.g. `url: http://localhost:8081` below `registry:`"
    elif not all(_REGISTRY_URL.match(each.strip()) for each in url.split(",")):
        yield (*path, "url"), f"{quoted(url)} is not the URL of a schema registry", "write e.g. `http://localhost:8081`"
    user_info = values.get("basic.auth.user.info")
    if user_info is not None and ":" not in user_info and UNREAD_SECRET not in user_info:
        yield (*path, "basic.auth.user.info"), "is not a user and a password", "write them with a colon between"
    yield from _tokens(values)
    keys = [name for name in ("ssl.key.location", "ssl.key.password") if name in values]
    if keys and "ssl.certificate.location" not in values:
        yield (*path, keys[0]), "needs `ssl.certificate.location`", "name the certificate, too"


def _tokens(values: RegistryProperties) -> Iterator[Finding]:
    path = ("schema", "registry")
    source = values.get("bearer.auth.credentials.source")
    if source is None:
        if name := next((each for each in values if each.startswith("bearer.")), None):
            remedy = f"add `bearer.auth.credentials.source`: {', '.join(_BEARER)}"
            yield (*path, name), "says nothing of where tokens come from", remedy
        return
    if source not in _BEARER:
        yield (*path, "bearer.auth.credentials.source"), *not_one_of(list(_BEARER), source)
        return
    needed = (*_BEARER[source], *((_OF_CLOUD,) if _CLOUD.search(values.get("url", "")) else ()))
    for name in needed:
        if not values.get(name):
            yield (*path, name), "is missing", f"{source} needs {', '.join(needed)}"
    if "basic.auth.user.info" in values:
        yield (*path, "basic.auth.user.info"), "is given beside a bearer token", "keep one way to log in"
