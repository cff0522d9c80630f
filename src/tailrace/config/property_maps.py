"""Keys that are maps of properties: of Kafka, Connect, a schema registry's client, an Iceberg catalog, as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tailrace.config.interpolate import Interpolated
from tailrace.config.problem import InvalidError, kind_of
from tailrace.config.secrets import MASK, is_credential, is_secret, without_user_info
from tailrace.kafka import login, properties

PROPERTY_SCHEMA: Final[Mapping[str, Any]] = {"type": ["string", "number", "boolean"]}


class KafkaProperties(Mapping[str, str]):
    """The properties of librdkafka, as they are; shown and stored in any other form without their secrets."""

    _what: ClassVar[str] = "librdkafka properties"
    _example: ClassVar[str] = "bootstrap.servers: localhost:9092"

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name: str(value) for name, value in values.items()}
        self._hidden = {
            name
            for name, value in values.items()
            if is_secret(name) or (isinstance(value, Interpolated) and is_credential(name))
        }

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"KafkaProperties({self.shown()})"

    def shown(self) -> dict[str, str]:
        """Return the properties with `***` for each secret."""
        return {
            name: MASK if name in self._hidden else without_user_info(value) for name, value in self._values.items()
        }

    @classmethod
    def _validate(cls, value: object) -> Self:
        if not isinstance(value, Mapping):
            raise InvalidError(
                f"must be a mapping of {cls._what}, not {kind_of(value)}", f"write `{cls._example}` below it"
            )
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(cls.shown)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        every = properties.COMMON | properties.PRODUCER | properties.CONSUMER | login.OURS
        known = sorted(every - set(properties.OWNED))
        return {
            "type": "object",
            "required": ["bootstrap.servers"],
            "properties": dict.fromkeys(known, PROPERTY_SCHEMA)
            | {
                "bootstrap.servers": {
                    "type": "string",
                    "description": "Brokers to begin with: `host:port`, several with commas between.",
                    "examples": ["localhost:9092"],
                }
            },
            "additionalProperties": False,
        }


class ConnectProperties(KafkaProperties):
    """Kafka Connect's properties, as they are; shown without their secrets."""

    _what = "Connect's properties"
    _example = "key.converter: org.apache.kafka.connect.storage.StringConverter"

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object", "additionalProperties": PROPERTY_SCHEMA}


class RegistryProperties(KafkaProperties):
    """The properties of confluent-kafka's client of a schema registry, as they are; shown without their secrets."""

    _what = "properties of a schema registry's client"
    _example = "url: http://localhost:8081"

    known: ClassVar[Mapping[str, str]] = {
        "url": "Where the registry is; several URLs with commas between.",
        "basic.auth.user.info": "User and password with a colon between.",
        "ssl.ca.location": "PEM file with the authority of the registry's certificate.",
        "ssl.certificate.location": "PEM file with the client's certificate (mTLS).",
        "ssl.key.location": "PEM file with its private key.",
        "ssl.key.password": "Password of the private key.",
        "bearer.auth.credentials.source": "Where tokens come from: OAUTHBEARER, OAUTHBEARER_AZURE_IMDS, STATIC_TOKEN.",
        "bearer.auth.token": "The token of STATIC_TOKEN.",
        "bearer.auth.client.id": "Client id at the token endpoint of OAUTHBEARER.",
        "bearer.auth.client.secret": "Client secret at the token endpoint.",
        "bearer.auth.scope": "Scope that is asked for.",
        "bearer.auth.issuer.endpoint.url": "The token endpoint.",
        "bearer.auth.issuer.endpoint.query": "Query of Azure's token endpoint.",
        "bearer.auth.logical.cluster": "Logical cluster of Confluent Cloud's registry, `lsrc-…`.",
        "bearer.auth.identity.pool.id": "Identity pool of Confluent Cloud.",
        "proxy": "URL of the HTTP proxy.",
    }
    """What each means."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "type": "object",
            "required": ["url"],
            "properties": {name: {**PROPERTY_SCHEMA, "description": text} for name, text in cls.known.items()},
            "additionalProperties": False,
        }


class CatalogProperties(KafkaProperties):
    """The properties of pyiceberg for a catalog, as they are; shown without their secrets."""

    _what = "properties of an Iceberg catalog"
    _example = "type: glue"

    types: ClassVar[tuple[str, ...]] = ("sql", "glue", "rest")
    known: ClassVar[Mapping[str, str]] = {
        "namespace": "Namespace of the tables, in Glue the database. Without it the pipeline's name.",
        "uri": "Where a catalog of type sql or rest is: a database's URL, or that of the REST service.",
        "warehouse": "Where the tables' files go, or for rest what the service calls it. Without it `location`.",
    }
    """What some of them mean; pyiceberg has more."""

    def place(self, pipeline: str) -> tuple[str, ...]:
        """Return what two catalogs with the same tables have in common; `pipeline` names the namespace without one."""
        where = ("type", "uri", "warehouse") if self.get("type") == "rest" else ("type", "uri")
        return (*(self.get(name, "") for name in where), self.get("namespace") or pipeline.replace(".", "_"))

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"type": "string", "description": "Kind of the catalog."}}
            | {name: {**PROPERTY_SCHEMA, "description": text} for name, text in cls.known.items()},
            "additionalProperties": PROPERTY_SCHEMA,
        }
