"""The `schema` key: with which schemas records are written, and how. Its `type` is what they are written in."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tailrace.config.by_type import ByType
from tailrace.config.fields import Flag, Part, Whole, as_written
from tailrace.config.property_maps import RegistryProperties
from tailrace.connect.converters import JSON_CONVERTER
from tailrace.connect.data import Schema
from tailrace.connect.declared import Undeclared
from tailrace.connect.inference import NumberType
from tailrace.connect.registered import SubjectNameStrategy
from tailrace.connect.schema_reading import read_schema
from tailrace.connect.written import SchemaKind


class RecordSchema(Part):
    """What every type has."""

    type: str
    mode: str
    numbers: NumberType = Field(
        default="decimal",
        description="DynamoDB's numbers as decimals with `scale` digits behind the point, as text, or as doubles, "
        "which round them to 15 to 17 digits.",
    )
    scale: Whole = Field(
        default=9,
        ge=0,
        le=38,
        description="Digits behind the point of decimals. A number with more is set aside: it is never rounded.",
    )

    @property
    @abstractmethod
    def converters(self) -> Mapping[str, str]:
        """Connect's properties for the converters that it stands for."""


class ConnectJsonSchema(RecordSchema):
    """Connect's JsonConverter: each record is JSON that carries its schema, and no registry is needed."""

    type: Literal["connect-json"] = Field(description="What records are written in.")
    mode: Literal["inferred"] = Field(
        default="inferred", description="Where schemas come from: they are inferred from each change."
    )

    @property
    def converters(self) -> Mapping[str, str]:
        """JsonConverter with schemas."""
        return {"key.converter": JSON_CONVERTER, "value.converter": JSON_CONVERTER}


class RegisteredSchema(RecordSchema):
    """Avro, JSON Schema or Protobuf, in the wire format of Confluent's Schema Registry."""

    type: Literal["avro", "json", "protobuf"] = Field(description="What records are written in.")
    registry: RegistryProperties = Field(
        description="The schema registry: `url`, and how to log in, by the properties of confluent-kafka's client."
    )
    mode: Literal["document", "inferred", "declared"] = Field(
        default="document",
        description="Where schemas come from. `document`: they are fixed, and hold items as JSON text, so that they "
        "never change. `inferred`: from items, growing compatibly as attributes appear. `declared`: from `declared`.",
    )
    declared: dict[str, str] = Field(
        default=as_written({}),
        description="For `mode: declared`, by table: the schema of its items, in the language of `type`.",
        examples=[{"orders": "${file:order.avsc}"}],
    )
    declared_versions: dict[str, str] = Field(
        default=as_written({}),
        description="The same by table for a schema that the registry has: a subject and the number of its version.",
        examples=[{"orders": "orders-item/3"}],
    )
    undeclared: Undeclared = Field(
        default="refuse",
        description="An attribute that a declared schema does not have makes a change a dead letter, or is left out "
        "of it (`ignore`).",
    )
    subject_name_strategy: SubjectNameStrategy = Field(
        default="TopicNameStrategy",
        description="How the registry's subjects are named: by the topic, by the record, or by both.",
    )
    auto_register: Flag = Field(
        default=True, description="Whether schemas are registered when the registry does not have them."
    )

    examples: ClassVar = {"registry": "registry: {url: http://localhost:8081}"}

    @property
    def kind(self) -> SchemaKind:
        """The language of its schemas, as the registry names it."""
        kinds: Mapping[str, SchemaKind] = {"avro": "AVRO", "json": "JSON", "protobuf": "PROTOBUF"}
        return kinds[self.type]

    @property
    def item_schemas(self) -> Mapping[str, Schema]:
        """The declared schemas by table. Raises `DataError` for what is none, which a checked file does not have."""
        return {table: read_schema(self.kind, text) for table, text in self.declared.items()}

    @property
    def item_versions(self) -> Mapping[str, tuple[str, int]]:
        """The declared subjects and versions by table. Raises ValueError for what is none, which is found before."""
        parts = {table: text.rpartition("/") for table, text in self.declared_versions.items()}
        return {table: (subject, int(number)) for table, (subject, _, number) in parts.items()}

    @property
    def converters(self) -> Mapping[str, str]:
        """None: a document is wrapped as a whole."""
        return {}


AnyRecordSchema = Annotated[RecordSchema, ByType(ConnectJsonSchema, RegisteredSchema)]
