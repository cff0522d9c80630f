"""Messages of Protobuf schemas by Google's own library; they are compiled by a small reader of what is written here."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2 as pb2
from google.protobuf import descriptor_pool, message_factory


def message_class(text: str, name: str) -> Any:
    """Return the class of a message of a schema, by its full name."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_descriptor(text))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def parsed(text: str, name: str, content: bytes) -> Any:
    """Parse the bytes of a message."""
    made = message_class(text, name)()
    made.ParseFromString(content)
    return made


def value_of(message: Any) -> dict[str, Any]:
    """Return a message as a dict, without fields that are not there."""
    value: dict[str, Any] = {}
    for field, content in message.ListFields():
        if field.message_type is None:
            value[field.name] = list(content) if field.is_repeated else content
        elif field.is_repeated:
            value[field.name] = [value_of(each) for each in content]
        else:
            value[field.name] = value_of(content)
    return value


def _descriptor(text: str) -> Any:
    kinds = {"int32": 5, "int64": 3, "float": 2, "double": 1, "bool": 8, "string": 9, "bytes": 12}
    file = pb2.FileDescriptorProto(name="x.proto", syntax="proto3")
    open_messages: list[Any] = []
    for line in (each.strip() for each in text.splitlines()):
        words = line.rstrip(";{").split()
        if line.startswith("package"):
            file.package = words[1]
        elif line.startswith("message"):
            holder = open_messages[-1].nested_type if open_messages else file.message_type
            open_messages.append(holder.add(name=words[1]))
        elif line == "}":
            open_messages.pop()
        elif words and words[0] != "syntax":
            number = int(words[-1])
            label = 3 if words[0] == "repeated" or line.startswith("map") else 1
            words = [each for each in words if each not in {"repeated", "optional"}]
            message = open_messages[-1]
            field = message.field.add(name=words[-3], number=number, label=label)
            if line.startswith("map"):
                entry = message.nested_type.add(name=words[-3].title() + "Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=9, label=1)
                entry.field.add(name="value", number=2, type=kinds[words[-4].rstrip(">")], label=1)
                field.type_name, field.type = entry.name, 11
            elif words[0] in kinds:
                field.type = kinds[words[0]]
                if line.startswith("optional"):
                    field.proto3_optional = True
                    field.oneof_index = len(message.oneof_decl)
                    message.oneof_decl.add(name="_" + field.name)
            else:
                field.type_name, field.type = words[0], 11
    return file
