"""Pages of streams, scans and exports from a seed, written in every way that JSON allows: common ones, and odd ones."""

from __future__ import annotations

import base64
import random
from typing import Any, Final

_SECONDS = 1_714_557_600
_TEXTS: Final = [
    "", "a", "order-4711", "Zürich", "😀 smile", "tab\there", 'a "quote"', "back\\slash", "line\nline", "\u2028",
    "\x00", "\x7f", "\x1f\x08\x0c", "/path/", "{}[],:", "x" * 300, "é" * 40, "\uffff", "null", "0",
]  # fmt: skip
_NAMES: Final = [
    "id",
    "sort",
    "name",
    "n",
    "a",
    "aa",
    "ab",
    "Z",
    "é",
    "😀",
    "\uffff",
    "",
    "with space",
    'q"',
    "b\\",
    "N",
    "S",
]
_NUMBERS: Final = [
    "0", "1", "-1", "42", "1.5", "-0.001", "100", "-100", "1.50", "0.0", "-0", "99999999999999999999999999999999999999",
    "9223372036854775807", "123456789012345678", "1234567890123456789", "0.00000000000000000000000000000000000001",
    "-1.5", "-1.53", "1E+20", "1e5", "-1.5E-130", "1E126", "12345678901234567890.123456789",
]  # fmt: skip
_ODD_NUMBERS: Final = [
    "",
    "+1",
    "007",
    "-07",
    ".5",
    "5.",
    "NaN",
    "1e",
    "1e99999",
    "abc",
    " 1",
    "\u0661",
    "1_000",
    "9" * 60,
]
_IMAGES: Final = frozenset({"Keys", "NewImage", "OldImage"})
_ODD_BINARIES: Final = ["a", "YR==", "YQ", "Y Q=", "é", "YQ==YQ==", "====", "-_=="]


class Pairs(list[tuple[str, Any]]):
    """An object whose names may come twice."""


class Literal(str):
    """JSON text, encoded as is."""

    __slots__ = ()


class RandomPages:
    """Makes pages. `oddity` is how probable each departure from what AWS sends is."""

    def __init__(self, seed: int, oddity: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._oddity = oddity

    def page(self, records: int) -> bytes:
        """Return the body of an answer of GetRecords."""
        style = self._random.choice(["compact", "spaced", "ascii", "wild"])
        answer = Pairs([("Records", [self.record(number) for number in range(records)])])
        if self._random.random() < 0.9:
            answer.insert(
                self._random.randrange(2), ("NextShardIterator", self._random.choice(["next|1==", "a", None]))
            )
        if self._odd():
            answer.append(("ResponseMetadata", {"RequestId": "x"}))
        return self._json(answer, style).encode("utf-8", "surrogatepass")

    def log_page(self, records: int) -> bytes:
        """Return the body of an answer of GetRecords of Kinesis, with records that DynamoDB wrote and a few others."""
        style = self._random.choice(["compact", "spaced", "ascii", "wild"])
        answer = Pairs([("Records", [self._entry(number) for number in range(records)])])
        answer.append(("MillisBehindLatest", self._random.choice([0, 0, 1200])))
        if self._random.random() < 0.9:
            answer.insert(
                self._random.randrange(3), ("NextShardIterator", self._random.choice(["next|1==", "a", None]))
            )
        if self._odd():
            answer.append(self._random.choice([("ChildShards", []), ("MillisBehindLatest", None), ("Records", [])]))
        return self._json(answer, style).encode("utf-8", "surrogatepass")

    def _entry(self, number: int) -> Pairs:
        rnd = self._random
        data = self._json(self._change_record(), rnd.choice(["compact", "compact", "spaced", "ascii", "wild"]))
        content = data.encode("utf-8", "surrogatepass")
        if self._odd():
            content = rnd.choice([b"", b"hello", b"{}", b"\xf3\x89\x9a\xc2" + content, self.mutated(content)])
        base64_text = base64.b64encode(content).decode()
        entry = Pairs(
            [
                ("ApproximateArrivalTimestamp", Literal(f"{_SECONDS}.{rnd.randrange(1000):03}")),
                ("Data", rnd.choice(_ODD_BINARIES) if self._odd() else base64_text),
                ("PartitionKey", rnd.choice(["ABCDEF0123", "key", "é"])),
                ("SequenceNumber", str(49 * 10**54 + number)),
            ]
        )
        if rnd.random() < 0.2:
            rnd.shuffle(entry)
        if self._odd():
            entry.append(rnd.choice([("EncryptionType", "KMS"), ("SubSequenceNumber", 1), ("Data", base64_text)]))
        return entry

    def _change_record(self) -> Pairs:
        """Return what DynamoDB writes to Kinesis of a record."""
        rnd = self._random
        of_stream = self.record(0)
        fields = dict(of_stream)
        parts = fields.get("dynamodb")
        body = Pairs(part for part in parts if part[0] in _IMAGES) if isinstance(parts, Pairs) else Pairs()
        created = rnd.choice(
            [("MICROSECOND", _SECONDS * 10**6 + 123_456), ("MILLISECOND", _SECONDS * 1000 + 7), (None, 5)]
        )
        body.insert(rnd.randrange(len(body) + 1), ("ApproximateCreationDateTime", created[1]))
        if created[0] is not None or rnd.random() < 0.5:
            body.append(("ApproximateCreationDateTimePrecision", created[0]))
        names = [(name, value) for name, value in of_stream if name in {"eventID", "eventName", "eventSource"}]
        record = Pairs([("awsRegion", "eu-west-1"), *names, ("userIdentity", fields.get("userIdentity"))])
        record += [
            ("recordFormat", "application/json"),
            ("tableName", rnd.choice(["orders", "users"])),
            ("dynamodb", body),
        ]
        for part in (record, body):
            if self._odd():
                self._spoil(part)
        return record

    def scanned(self, count: int) -> bytes:
        """Return the body of an answer of Scan, of a table with the keys `id` and `sort`."""
        style = self._random.choice(["compact", "spaced", "ascii", "wild"])
        answer = Pairs([("Count", count), ("Items", [self._row() for _ in range(count)]), ("ScannedCount", count)])
        if self._random.random() < 0.7:
            last = Pairs([("id", {"S": self._text()}), ("sort", {"N": self._number()})])
            answer.insert(self._random.randrange(4), ("LastEvaluatedKey", last))
        if self._random.random() < 0.9:
            capacity = {"TableName": "orders", "CapacityUnits": Literal(self._random.choice(["128.5", "1.0", "3"]))}
            answer.append(("ConsumedCapacity", capacity))
        if self._odd():
            answer.append(self._random.choice([("LastEvaluatedKey", None), ("Items", []), ("ConsumedCapacity", 5)]))
        return self._json(answer, style).encode("utf-8", "surrogatepass")

    def export_lines(self, count: int) -> bytes:
        """Return lines of a full export of such a table."""
        style = self._random.choice(["compact", "spaced", "ascii"])
        lines = [Pairs([("Item", self._row())]) for _ in range(count)]
        for line in lines:
            if self._odd():
                line.append(self._random.choice([("Item", {}), ("Keys", {"id": {"S": "a"}}), ("NewImage", None)]))
        return b"".join(self._json(line, style).encode("utf-8", "surrogatepass") + b"\n" for line in lines)

    def _row(self) -> Pairs:
        keys = Pairs([("id", {"S": self._text()}), ("sort", {"N": self._number()})])
        if self._odd():
            keys.pop()
        return self._item(keys)

    def mutated(self, body: bytes) -> bytes:
        """Return the body with a few bytes changed, left out, put in or moved."""
        mutant = bytearray(body)
        for _ in range(self._random.choice([1, 1, 1, 2, 5])):
            at = self._random.randrange(len(mutant) + 1)
            match self._random.randrange(6):
                case 0 if at < len(mutant):
                    mutant[at] = self._random.randrange(256)
                case 1:
                    del mutant[at : at + self._random.choice([1, 1, 2, 8])]
                case 2:
                    mutant[at:at] = self._random.choice(
                        [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"\xff"]
                    )
                case 3:
                    mutant[at:at] = bytes(mutant[at : at + self._random.choice([1, 4, 20])])
                case 4 if at < len(mutant):
                    mutant[at] ^= 1 << self._random.randrange(8)
                case _:
                    word = self._random.choice(
                        [b'"S"', b'"N"', b'"M"', b"\\u00e9", b"\\ud800", b"null", b"1e5", b" \t\n"]
                    )
                    mutant[at : at + self._random.choice([0, len(word)])] = word
        return bytes(mutant)

    def record(self, number: int) -> Pairs:
        """Return one record."""
        rnd = self._random
        name = rnd.choice(["INSERT", "MODIFY", "MODIFY", "REMOVE"])
        checkpoint_state = rnd.choice(["NEW_AND_OLD_IMAGES"] * 3 + ["NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"])
        keys = Pairs((key, self._key()) for key in rnd.sample(["id", "sort", "Z"], rnd.choice([1, 1, 2])))
        body = Pairs([("ApproximateCreationDateTime", self._created()), ("Keys", keys)])
        if name != "REMOVE" and checkpoint_state in {"NEW_AND_OLD_IMAGES", "NEW_IMAGE"}:
            body.append(("NewImage", self._item(keys)))
        if name != "INSERT" and checkpoint_state in {"NEW_AND_OLD_IMAGES", "OLD_IMAGE"}:
            body.append(("OldImage", self._item(keys)))
        body += [("SequenceNumber", f"{10**20 + number}"), ("SizeBytes", 59), ("StreamViewType", checkpoint_state)]
        record = Pairs([("eventID", f"{rnd.getrandbits(128):032x}"), ("eventName", name), ("eventVersion", "1.1")])
        record += [("eventSource", "aws:dynamodb"), ("awsRegion", "eu-west-1"), ("dynamodb", body)]
        if name == "REMOVE" and rnd.random() < 0.4:
            names = rnd.choice([("type", "principalId"), ("Type", "PrincipalId")])
            record.append(("userIdentity", dict(zip(names, ("Service", "dynamodb.amazonaws.com"), strict=True))))
        if rnd.random() < 0.2:
            rnd.shuffle(body)
            rnd.shuffle(record)
        for part in (record, body):
            if self._odd():
                self._spoil(part)
        return record

    def _spoil(self, part: Pairs) -> None:
        rnd = self._random
        at = rnd.randrange(len(part))
        name, _ = part[at]
        match rnd.randrange(6):
            case 0:
                del part[at]
            case 1:
                part.append(part[at])
            case 2:
                part[at] = (name, rnd.choice([None, True, {}, [], "", "x", 0, -5, Literal("1.5e300"), {"S": "a"}]))
            case 3:
                part.append(
                    (rnd.choice(["Keys", "NewImage", "OldImage", "userIdentity", "eventID"]), self._item(Pairs()))
                )
            case 4:
                part.append((rnd.choice(["unknown", "Type", "é"]), self._value(0)))
            case _:
                part[at] = (name, rnd.choice(["INSERT", "1" * 41, "007", "2024-05-01T10:00:00Z", "é", "\n"]))

    def _created(self) -> Any:
        rnd = self._random
        ordinary = [
            _SECONDS,
            Literal("1.7145576E9"),
            Literal(f"{_SECONDS}.{rnd.randrange(1000):03}"),
            Literal("1714557600.0"),
        ]
        if self._odd():
            return rnd.choice(
                [None, 0, -1, "2024-05-01T10:00:00Z", Literal("1e300"), 10**15, Literal("0.0005"), Literal("-0")]
            )
        return rnd.choice(ordinary)

    def _key(self) -> Pairs:
        rnd = self._random
        tag, value = rnd.choice(
            [("S", self._text()), ("S", self._text()), ("N", self._number()), ("B", self._binary())]
        )
        return Pairs([(rnd.choice(["M", "BOOL", ""]) if self._odd() else tag, value)])

    def _item(self, keys: Pairs) -> Pairs:
        rnd = self._random
        item = Pairs(keys)
        item += [(name, self._value(1)) for name in rnd.sample(_NAMES, rnd.randrange(6)) if name not in dict(item)]
        if self._odd() and item:
            item.append(rnd.choice(item))
        rnd.shuffle(item)
        return item

    def _value(self, level: int) -> Any:
        rnd = self._random
        if self._odd():
            return rnd.choice(
                [{}, {"X": "a"}, {"S": 1}, {"N": 1}, {"S": "a", "N": "1"}, 5, None, "a", [], {"NULL": False}]
            )
        if self._odd():
            deep: Any = {"S": "deep"}
            for _ in range(rnd.choice([5, 29, 30, 31, 32, 33, 60])):
                deep = rnd.choice([{"L": [deep]}, {"M": {"a": deep}}])
            return deep
        kinds = ["S", "S", "S", "N", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", *(["M", "L"] if level < 4 else [])]
        match kind := rnd.choice(kinds):
            case "S":
                value: Any = self._text()
            case "N":
                value = self._number()
            case "B":
                value = self._binary()
            case "BOOL":
                value = rnd.random() < 0.5
            case "NULL":
                value = True
            case "M":
                value = Pairs((name, self._value(level + 1)) for name in rnd.sample(_NAMES, rnd.randrange(4)))
            case "L":
                value = [self._value(level + 1) for _ in range(rnd.randrange(4))]
            case _:
                one = {"SS": self._text, "NS": self._number, "BS": self._binary}[kind]
                value = [one() for _ in range(rnd.randrange(5))]
        return Pairs([(kind, value)])

    def _text(self) -> str:
        rnd = self._random
        if rnd.random() < 0.5:
            return rnd.choice(_TEXTS)
        return "".join(rnd.choice("abcdefghij XYZ0123456789-_.:") for _ in range(rnd.randrange(30)))

    def _number(self) -> str:
        rnd = self._random
        if self._odd():
            return rnd.choice(_ODD_NUMBERS)
        return rnd.choice([rnd.choice(_NUMBERS), f"{rnd.randrange(10**6)}", f"{rnd.uniform(-1e6, 1e6):.3f}"])

    def _binary(self) -> str:
        rnd = self._random
        return rnd.choice(_ODD_BINARIES) if self._odd() else base64.b64encode(rnd.randbytes(rnd.randrange(20))).decode()

    def _odd(self) -> bool:
        return self._random.random() < self._oddity

    def _json(self, value: Any, style: str) -> str:
        comma, colon = {"compact": (",", ":"), "spaced": (", ", ": ")}.get(style, (",", ":"))
        if style == "wild":
            comma, colon = (self._random.choice(["{}", " {}", "{}\n\t", "\r{} "]).format(sign) for sign in (",", ":"))
        match value:
            case Literal():
                return str(value)
            case str():
                return self._string(value, style)
            case None | bool():
                return {None: "null", True: "true", False: "false"}[value]
            case int():
                return str(value)
            case Pairs() | dict():
                pairs = value if isinstance(value, Pairs) else value.items()
                return f"{{{comma.join(self._string(k, style) + colon + self._json(v, style) for k, v in pairs)}}}"
        return f"[{comma.join(self._json(member, style) for member in value)}]"

    def _string(self, text: str, style: str) -> str:
        return '"' + "".join(self._character(character, style) for character in text) + '"'

    def _character(self, character: str, style: str) -> str:
        escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
        if style == "wild" and self._random.random() < self._oddity:
            if character == "/":
                return "\\/"
            return "".join(f"\\u{unit:04x}" for unit in _utf16(character))
        if character in escapes:
            return escapes[character]
        if character < " " or (style == "ascii" and character > "\x7f"):
            return "".join(f"\\u{unit:04x}" for unit in _utf16(character))
        return character


def _utf16(character: str) -> list[int]:
    encoded = character.encode("utf-16-be")
    return [int.from_bytes(encoded[at : at + 2], "big") for at in range(0, len(encoded), 2)]
