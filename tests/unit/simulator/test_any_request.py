"""Whatever a client sends is answered, with what it asked for or with an error that AWS has too."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from support.simulated import START_MS, Simulated
from tailrace_simulator.faults import KINESIS_OPERATIONS, OPERATIONS, target_of
from tailrace_simulator.simulator import SHAPES

CODES = {
    "ConditionalCheckFailedException",
    "InvalidArgumentException",
    "InvalidParameterException",
    "LimitExceededException",
    "ResourceInUseException",
    "ResourceNotFoundException",
    "SerializationException",
    "ThrottlingException",
    "ValidationException",
}
WORDS = ["id", "orders", "S", "N", "M", "L", "SS", "1", "HASH", "KEYS_ONLY", "#n", ":v", "SET id = :v", "m.n[0]"]
TOKENS = [*"()[].,=<>+-?0", "SET", "REMOVE", "ADD", "AND", "NOT", "IN", "id", "n", ":v", "#n", "size"]
text = st.text("aé🚀\0#:|", max_size=5)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | text | st.sampled_from(WORDS)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS) | text, inner), max_leaves=5
)
attributes = st.dictionaries(st.sampled_from(["S", "N", "B", "M", "L", "SS", "NS", "NULL"]), values, max_size=2)
items = st.dictionaries(st.sampled_from(["id", "n", "m"]) | text, attributes, max_size=3)
expressions = st.lists(st.sampled_from(TOKENS), max_size=8).map(" ".join)


def fields_of(operation: str) -> st.SearchStrategy[dict[str, Any]]:
    """Requests with the operation's own parameters, right and wrong."""
    names = [field.encode_name for field in msgspec.structs.fields(SHAPES[operation])]
    return st.dictionaries(st.sampled_from(names), values | items | expressions | st.just("orders"))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(OPERATIONS)).flatmap(lambda name: st.tuples(st.just(name), fields_of(name))),
    st.booleans(),
)
def test_any_request_is_answered(asked: tuple[str, dict[str, Any]], named: bool) -> None:
    operation, fields = asked
    simulated = Simulated()
    simulated.create()
    simulated.put("a", n={"N": "1"}, m={"M": {"n": {"L": [{"S": "x"}]}}})
    simulated.call("kinesis:CreateStream", StreamName="orders", ShardCount=2)
    if named and operation in KINESIS_OPERATIONS:
        fields |= {"StreamName": "orders", "ShardId": "shardId-000000000000"}
    elif named:
        fields |= {"TableName": "orders", "Key": {"id": {"S": "a"}}}
    reply = simulated.simulator.handle(target_of(operation), json.dumps(fields).encode(), START_MS)
    assert reply.status in {200, 400}
    answer = msgspec.json.decode(reply.body)
    if reply.status == 400:
        assert answer["__type"].rpartition("#")[2] in CODES
        assert answer["message"]


@settings(max_examples=50, deadline=None)
@given(st.binary())
def test_any_bytes_are_answered(body: bytes) -> None:
    for operation in sorted(OPERATIONS):
        assert Simulated().simulator.handle(target_of(operation), body, START_MS).status in {200, 400}


def test_a_bottomless_request_is_refused() -> None:
    body = b'{"TableName":"orders","Item":{"id":' + b'{"L":[' * 10_000
    assert Simulated().simulator.handle("DynamoDB_20120810.PutItem", body, START_MS).status == 400
