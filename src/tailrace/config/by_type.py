"""Keys that have kinds: the `type` of their mapping names the model of its other keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tailrace.config.fields import Part
from tailrace.config.problem import InvalidError, not_one_of


class ByType:
    """A pydantic annotation of a base class: the value is of the one of `kinds` that its `type` names.

    Pydantic puts the type into the path of every error below such a key; `explain` takes it out again.
    """

    def __init__(self, *kinds: type[Part], or_name: bool = False) -> None:
        """Each kind has a field `type`, a `Literal`.

        With `or_name` the file may write the type alone, instead of a mapping that has no other key.
        """
        self.or_name = or_name
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
        union = core_schema.tagged_union_schema(choices, discriminator="type")
        return core_schema.no_info_before_validator_function(self._of_name, union) if self.or_name else union

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # Not `oneOf`: a `type` that is a reference, `${env:…}`, may be any of them.
        names: list[JsonSchemaValue] = [{"type": "string", "enum": list(self.types)}] if self.or_name else []
        return {"anyOf": [*names, *handler(schema)["oneOf"]]}

    def _of_name(self, value: object) -> object:
        if isinstance(value, Mapping | Part):
            return value
        if isinstance(value, str) and value in self._kinds:
            return {"type": value}
        raise InvalidError(*not_one_of(self.types, value))
