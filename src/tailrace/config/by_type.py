"""Keys that have kinds: the `type` of their mapping names the model of its other keys."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tailrace.config.fields import Part


class ByType:
    """A pydantic annotation of a base class: the value is of the one of `kinds` that its `type` names.

    Pydantic puts the type into the path of every error below such a key; `explain` takes it out again.
    """

    def __init__(self, *kinds: type[Part]) -> None:
        """Each kind has a field `type`, a `Literal`."""
        self._kinds = {name: kind for kind in kinds for name in get_args(kind.model_fields["type"].annotation)}

    @property
    def types(self) -> tuple[str, ...]:
        """What `type` can be."""
        return tuple(self._kinds)

    def kind(self, name: str) -> type[Part]:
        """Return the model of a type."""
        return self._kinds[name]

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(kind) for name, kind in self._kinds.items()}
        return core_schema.tagged_union_schema(choices, discriminator="type")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # Not `oneOf`: a `type` that is a reference, `${env:…}`, may be any of them.
        return {"anyOf": handler(schema)["oneOf"]}
