"""What each step makes of a change, of its keys and of both images; and what it refuses."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from changes import ITEM, change, image, made, transformation

from tailrace.core.change import ViewType
from tailrace.errors import RecordError
from tailrace.transform.expression import Expression
from tailrace.transform.paths import parse
from tailrace.transform.steps import Exclude, Filter, Hash, Include, Mask, Rename, Route, Step

SECRET = b"0123456789abcdef"


def hashed(content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    return hmac.new(SECRET, data, hashlib.sha256).hexdigest()


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in ITEM.items() if name not in names}


def paths(*texts: str) -> tuple[Any, ...]:
    return tuple(map(parse, texts))


def both_images(step: Step) -> Any:
    """The image that a step makes, the same before and after an update."""
    (one,) = made(change(), step)
    assert image(one.before) == image(one.after)
    return image(one.after)


# filter and route


def test_a_filter_drops_what_is_not_true_and_leaves_the_rest_as_it_is() -> None:
    paid = Filter(Expression("item.type == 'order'"))
    assert made(change(), paid) == [change()]
    other = change(after=without("type"), before=ITEM)
    assert transformation(paid).apply(other).changes == []
    assert transformation(paid).apply(other).dropped_by == "transform[0]"


ROUTE = Route(Expression("item.type"), {"order": "shop.orders", "7": "shop.seven", "true": "shop.true"}, None)


@pytest.mark.parametrize(
    ("typed", "topic"),
    [
        ({"S": "order"}, "shop.orders"),
        ({"N": "7"}, "shop.seven"),
        ({"N": "7.0"}, "shop.seven"),
        ({"BOOL": True}, "shop.true"),
    ],
)
def test_a_route_chooses_the_topic_that_stands_for_the_value(typed: dict[str, Any], topic: str) -> None:
    (routed,) = transformation(ROUTE).apply(change(after=ITEM | {"type": typed})).changes
    assert routed.topic == topic


@pytest.mark.parametrize("typed", [{"S": "evil"}, {"S": ""}, {"NULL": True}, {"L": []}, {"S": "shop.orders"}])
def test_no_data_leads_to_a_topic_that_is_not_listed(typed: dict[str, Any]) -> None:
    odd = change(after=ITEM | {"type": typed})
    with pytest.raises(RecordError) as error:
        transformation(ROUTE).apply(odd)
    assert error.value.stage == "TRANSFORMATION"
    assert str(error.value).startswith("transform[0]: no topic stands for the value of item.type; add it to `topics`")
    otherwise = Route(ROUTE.by, ROUTE.topics, "shop.others")
    assert [routed.topic for routed in transformation(otherwise).apply(odd).changes] == ["shop.others"]


def test_a_delete_is_routed_by_what_was_there() -> None:
    (routed,) = transformation(ROUTE).apply(change("d")).changes
    assert routed.topic == "shop.orders"


# attributes


def test_exclude_takes_attributes_away() -> None:
    expected = without("card", "lines") | {
        "address": {"M": {"city": {"S": "Springwood"}}},
        "lines": {"L": [{"M": {"sku": {"S": "x"}}}, {"M": {"sku": {"S": "y"}}}]},
    }
    assert both_images(Exclude(paths("card", "address.street", "lines[*].price", "nowhere.x"))) == expected


def test_include_keeps_attributes_and_the_key() -> None:
    expected = {"id": ITEM["id"], "total": ITEM["total"], "address": {"M": {"city": {"S": "Springwood"}}}}
    assert both_images(Include(paths("total", "address.city", "nowhere"))) == expected


def test_rename_gives_new_names_where_they_stand() -> None:
    expected = without("total", "address") | {
        "amount": {"N": "1.50"},
        "address": {"M": {"road": {"S": "Elm"}, "city": {"S": "Springwood"}}},
    }
    assert both_images(Rename({parse("total"): "amount", parse("address.street"): "road"})) == expected


def test_a_key_attribute_is_renamed_in_the_message_key_too() -> None:
    (one,) = made(change(), Rename({parse("id"): "order_id"}))
    assert image(one.keys) == {"order_id": ITEM["id"]}
    assert image(one.after) == without("id") | {"order_id": ITEM["id"]}


def test_a_name_that_is_taken_is_not_given() -> None:
    with pytest.raises(RecordError, match="total cannot be renamed: the item has an attribute card already"):
        made(change(), Rename({parse("total"): "card"}))


@pytest.mark.parametrize(
    ("path", "keep_last", "shown"),
    [
        ("card", 0, "***"),
        ("card", 4, "***1111"),
        ("pin", 2, "***34"),
        ("pin", 4, "***"),
        ("type", 9, "***"),
        ("nothing", 2, "***"),
        ("mails", 2, "***"),
        ("address", 2, "***"),
    ],
)
def test_a_mask_shows_the_end_of_longer_values_and_never_the_whole(path: str, keep_last: int, shown: str) -> None:
    assert both_images(Mask(paths(path), "***", keep_last)) == ITEM | {path: {"S": shown}}


def test_a_hash_is_the_keyed_one_and_the_same_for_equal_values() -> None:
    step = Hash(paths("email", "pin", "total", "mails", "nothing", "lines[*].price"), SECRET)
    expected = ITEM | {
        "email": {"S": hashed("ann@example.com")},
        "pin": {"S": hashed("1234")},
        "total": {"S": hashed("1.5")},
        "mails": {"SS": sorted([hashed("a@example.com"), hashed("b@example.com")])},
        "lines": {"L": [{"M": {"sku": {"S": "x"}, "price": {"S": hashed("2")}}}, {"M": {"sku": {"S": "y"}}}]},
    }
    assert both_images(step) == expected


def test_a_hashed_key_attribute_is_hashed_in_the_message_key_too() -> None:
    (one,) = made(change(), Hash(paths("id"), SECRET))
    assert image(one.keys) == {"id": {"S": hashed("o-1")}}
    assert image(one.after)["id"] == image(one.keys)["id"]


@pytest.mark.parametrize("path", ["address", "lines", "lines[*]"])
def test_what_has_no_text_cannot_be_hashed(path: str) -> None:
    with pytest.raises(RecordError, match="cannot be hashed; text, numbers, binary and sets can"):
        made(change(), Hash(paths(path), SECRET))


# keys and view types


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (Mask(paths("card", "id"), "***"), "the key attribute id cannot be masked"),
        (Exclude(paths("id")), "the key attribute id cannot be left out"),
    ],
)
def test_what_would_make_keys_equal_or_only_seem_to_hide_them_is_refused(step: Step, sentence: str) -> None:
    assert [sentence in fault for fault in transformation(step).faults("NEW_IMAGE", ["id", "at"])] == [True]
    assert transformation(step).faults("NEW_IMAGE", ["other"]) == []
    with pytest.raises(RecordError, match=f"^transform.0.: {sentence}"):
        made(change(), step)


def test_a_renamed_key_attribute_is_one_still() -> None:
    steps = transformation(Rename({parse("id"): "order_id"}), Mask(paths("order_id"), "***"))
    assert len(steps.faults(None, ["id"])) == 1
    hidden = transformation(Rename({parse("address.id"): "x"}), Mask(paths("x"), "***"))
    assert hidden.faults(None, ["id"]) == []


@pytest.mark.parametrize(
    ("view_type", "faults"), [("NEW_AND_OLD_IMAGES", 0), ("NEW_IMAGE", 0), ("OLD_IMAGE", 2), ("KEYS_ONLY", 2)]
)
def test_a_step_that_would_look_at_nothing_is_refused(view_type: ViewType, faults: int) -> None:
    steps = transformation(Filter(Expression("after.a")), Route(Expression("after.type"), {"a": "b"}, None))
    found = steps.faults(view_type, ["id"])
    assert len(found) == faults
    assert all(f"a stream of view type {view_type} does not carry" in fault for fault in found)


@pytest.mark.parametrize(
    "step",
    [
        Exclude(paths("card")),
        Include(paths("card")),
        Rename({parse("card"): "c"}),
        Mask(paths("card"), "***"),
        Hash(paths("card"), SECRET),
    ],
)
def test_images_that_the_stream_leaves_out_stay_out(step: Step) -> None:
    only_keys = change(view_type="KEYS_ONLY")
    assert made(only_keys, step) == [only_keys]
    (new,) = made(change(after=ITEM, view_type="NEW_IMAGE"), step)
    assert new.before is None
    assert image(new.after) != ITEM
