"""The `format` key: the name of a format, or a mapping whose `type` it is, for one that has keys of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_serializer

from tailrace.config.by_type import ByType
from tailrace.config.fields import Part
from tailrace.formats import FormatName


class FormatChoice(Part):
    """A format without keys of its own."""

    type: FormatName = Field(description="The name of the format.")

    @model_serializer
    def _name(self) -> str:
        return self.type


AnyFormat = Annotated[FormatChoice, ByType(FormatChoice, or_name=True)]
