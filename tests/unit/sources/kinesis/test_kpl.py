"""Aggregates of the Kinesis Producer Library: what is whole comes apart, what is broken is refused in words."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.kinesis_records import aggregate, sealed
from tailrace.sources.kinesis import kpl

records = st.lists(
    st.tuples(st.text(max_size=5), st.none() | st.sampled_from(["0", "17", "9" * 38]), st.binary(max_size=300)),
    min_size=1,
    max_size=20,
)


@settings(deadline=None)
@given(records, st.booleans())
def test_its_records_come_out_in_their_order(given_records: list[tuple[str, str | None, bytes]], tags: bool) -> None:
    data = aggregate(given_records, tags=tags)
    assert kpl.is_aggregate(data)
    assert [(each.partition_key, each.hash_key, each.data) for each in kpl.take_apart(data)] == given_records


def test_it_reads_the_bytes_that_the_format_s_description_gives() -> None:
    data = bytes.fromhex("f3899ac20a01611a0908001a0568656c6c6f9b716524375bc42580cff72615650c15")
    assert kpl.take_apart(data) == [kpl.UserRecord(b"hello", "a", None)]
    with pytest.raises(ValueError, match="its checksum does not match"):
        kpl.take_apart(data[:-1] + b"!")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "it has no records"),
        (b"\x0a\x01a", "it has no records"),
        (b"\x0a\x05a", "it breaks off"),
        (b"\x0a", "it breaks off"),
        (b"\x0b", "not a message of protobuf"),
        (b"\x0a" + b"\xff" * 10, "too long"),
        (b"\x08\x01", "not of its type"),
        (b"\x18\x01", "not of its type"),
        (b"\x1a\x02\x08\x00", "no data or no partition key"),
        (b"\x1a\x02\x1a\x00", "no data or no partition key"),
        (b"\x1a\x04\x08\x00\x1a\x00", "names a key that it does not have"),
        (b"\x0a\x01\xff" + b"\x1a\x04\x08\x00\x1a\x00", "utf-8"),
        (b"\x0a\x01a" + b"\x1a\x06\x08\x00\x10\x00\x1a\x00", "names a key that it does not have"),
        (b"\x0a\x01a\x12\x01x" + b"\x1a\x06\x08\x00\x10\x00\x1a\x00", "an explicit hash key of it is not a number"),
        (b"\x0a\x01a" + b"\x1a\x00" * (kpl.RECORDS_MAX + 1), "it has more than 65536 records"),
    ],
)
def test_what_is_broken_is_refused(message: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        kpl.take_apart(sealed(message))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_do_harm(message: bytes) -> None:
    with suppress(ValueError):
        assert kpl.take_apart(sealed(message))
    with suppress(ValueError):
        assert kpl.take_apart(kpl.MAGIC + message)


def test_unknown_fields_of_every_size_are_passed_over() -> None:
    record = b"\x08\x00\x29" + b"x" * 8 + b"\x1a\x01d\x35" + b"x" * 4
    message = b"\x0a\x01a" + b"\x1a" + bytes([len(record)]) + record + b"\x49" + b"y" * 8
    assert kpl.take_apart(sealed(message)) == [kpl.UserRecord(b"d", "a", None)]
