"""The `schema` key: with which schemas records are written, and how. Its `type` is what they are written in."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from tailrace.config.by_type import ByType
from tailrace.config.fields import Part, Whole
from tailrace.connect.converters import JSON_CONVERTER
from tailrace.connect.inference import NumberType


class RecordSchema(Part):
    """What every type has."""

    type: str
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


AnyRecordSchema = Annotated[RecordSchema, ByType(ConnectJsonSchema)]
