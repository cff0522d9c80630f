"""Kafka Connect's data model: what helps to make schemas."""

from tailrace.connect.data import DECIMAL, Schema, decimal, optional, struct


def test_a_struct_finds_its_fields() -> None:
    schema = struct("orders.Value", {"id": Schema("string"), "total": decimal(2, optional=True)})
    total = schema.field("total")
    assert total is not None
    assert total.schema == Schema("bytes", True, DECIMAL, 1, parameters=(("scale", "2"),))
    assert total.schema.scale == 2
    assert schema.field("missing") is None


def test_schemas_are_equal_by_what_they_say() -> None:
    assert struct("a", {"id": Schema("string")}) == struct("a", {"id": Schema("string")})
    assert optional(Schema("string")) == Schema("string", optional=True)
