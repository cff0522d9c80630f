"""Page bytes to committed transaction on one core: against the naive pipeline, by size, by format, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks import pages
from benchmarks.lab import MEASURED_CORE, Cell, Lab, Table
from benchmarks.measure import Rates, Step, interleave, on_core
from benchmarks.naive import NaiveKinesis, NaivePipeline, NaiveStreams
from benchmarks.page_server import TABLE, Stream
from benchmarks.publisher import BATCH_CHANGES, Carrier, Publisher
from benchmarks.transcoders import LOG_WINDOW_PAGES, SHARD, How, Transcode, converter, log_transcoders, transcoders
from tailrace.connect.registered_documents import DocumentKind
from tailrace.formats import FORMATS, make_format
from tailrace.formats.keys import message_key
from tailrace.sources.dynamodb.stream_record import decode_page

NAIVE = "naive"
_NO_SCHEMA: Final = "none"
_KINDS: Final[tuple[DocumentKind | None, ...]] = (None, "json", "avro", "protobuf")
_BODIES = 4


@dataclass(frozen=True)
class Way:
    """What is measured of a source."""

    page: Callable[[int, int], bytes]
    """Makes the body of a page; takes the size of an item in bytes, and the page's number."""
    bodies: int
    """How many bodies are carried in turn."""
    transcoders: Callable[[str], dict[How, Transcode]]
    naive: type[NaivePipeline]


STREAMS = Way(pages.page, _BODIES, transcoders, NaiveStreams)
KINESIS = Way(pages.log_page, LOG_WINDOW_PAGES + 4, log_transcoders, NaiveKinesis)
"""A body comes again when the window has forgotten it: nothing is a repeat."""


def against_naive(lab: Lab) -> Table:
    """Measure the usual page: 1,000 records, 400 B items, both images, Debezium's envelope, exact numbers."""
    rates = _rates(lab, pages.USUAL_SIZE)
    return _table("Page to commit: 1,000 records a page, 400 B items, both images, Debezium", rates, lab)


def by_size(lab: Lab) -> Table:
    """Measure other item sizes."""
    rows = []
    for size in lab.some(pages.SIZES):
        rates = _rates(lab, size)
        for name in rates:
            rows.append([f"{size:,} B", pages.records_per_page(size), name, *cells(rates, name)])
        lab.delete_topics("bench-")
    columns = ["item", "records a page", "how", *COLUMNS]
    return Table("Page to commit by item size", columns, rows)


def by_format(lab: Lab) -> Table:
    """Measure each format."""
    topic, checkpoints = lab.topic(), lab.topic(1)
    bodies = [pages.page(pages.USUAL_SIZE, number) for number in range(_BODIES)]
    with ExitStack() as opened, on_core(MEASURED_CORE):
        steps: dict[str, Step] = {}
        for name in FORMATS:
            for how, transcode in transcoders(topic, name).items():
                publisher = Publisher(lab.kafka, checkpoints)
                opened.callback(publisher.close)
                steps[f"{name}|{how}"] = Carrier(publisher, transcode, bodies).step
        rates = interleave(steps, rounds=lab.rounds, seconds=lab.round_s)
    rows: list[list[Cell]] = [
        [*key.split("|"), round(rate.cpu), round(rate.wall), _us(rate)] for key, rate in rates.items()
    ]
    columns = ["format", "how", "changes/CPU s", "changes/s", "µs CPU a change"]
    return Table("Page to commit by format (400 B items)", columns, rows)


def by_schema(lab: Lab) -> Table:
    """Measure records as documents with a schema registry's ids, against the plain format in the same run."""
    topic, checkpoints = lab.topic(), lab.topic(1)
    bodies = [pages.page(pages.USUAL_SIZE, number) for number in range(_BODIES)]
    with ExitStack() as opened, on_core(MEASURED_CORE):
        steps: dict[str, Step] = {}
        for kind in _KINDS:
            for how, transcode in transcoders(topic, "debezium", kind).items():
                publisher = Publisher(lab.kafka, checkpoints)
                opened.callback(publisher.close)
                steps[f"{how}|{kind or _NO_SCHEMA}"] = Carrier(publisher, transcode, bodies).step
        rates = _interleaved(lab, steps)
    rows: list[list[Cell]] = []
    figures: dict[str, float] = {}
    for key, rate in sorted(rates.items(), reverse=True):
        transcoder, schema = key.split("|")
        figures[f"{transcoder}: {schema}"] = times = 1 / rate.times(rates[f"{transcoder}|{_NO_SCHEMA}"])
        rows.append([transcoder, schema, round(rate.cpu), _us(rate), round(times, 2)])
    columns = ["how", "schema", "changes/CPU s", "µs CPU a change", "times the plain cost"]
    return Table("Page to commit by schema (documents, 400 B items, Debezium)", columns, rows, figures=figures)


def step_by_step(lab: Lab) -> Table:
    """Measure decode, key, envelope, produce and commit apart, so that the next bottleneck has a name."""
    topic, checkpoints = lab.topic(), lab.topic(1)
    body = pages.page(pages.USUAL_SIZE)
    source = decode_page(body, shard=SHARD, table=TABLE, region="us-east-1")
    changes = [record.change for record in source.records if record.change]
    encode = make_format("debezium", pipeline="bench", numbers="exact").encode
    convert = converter(topic).convert

    def decode() -> int:
        return len(decode_page(body, shard=SHARD, table=TABLE, region="us-east-1").records)

    def key() -> int:
        for change in changes:
            message_key(change.keys, "exact")
        return len(changes)

    def key_and_envelope() -> int:
        for change in changes:
            encode(change, 1)
        return len(changes)

    def key_envelope_and_page() -> int:
        return len(convert(SHARD, source, time.time_ns()).changes)

    page = convert(SHARD, source, time.time_ns())
    small = Publisher(lab.kafka, checkpoints)
    usual = Publisher(lab.kafka, checkpoints)

    def transaction_of_one_page() -> int:
        return small.commit([page])

    def transaction_of_nine_pages() -> int:
        return usual.commit([page] * 9)

    steps: dict[str, Step] = {
        "decode": decode,
        "key": key,
        "key_and_envelope": key_and_envelope,
        "page": key_envelope_and_page,
        "one": transaction_of_one_page,
        "nine": transaction_of_nine_pages,
    }
    with on_core(MEASURED_CORE):
        us = {name: 1e6 / rate.cpu for name, rate in _interleaved(lab, steps).items()}
    small.close()
    usual.close()
    # Two sizes of transaction tell what a change costs and what the transaction itself does.
    transaction_us = max(0.0, (us["one"] - us["nine"]) / (1 / 1_000 - 1 / 9_000))
    produce_us = us["one"] - transaction_us / 1_000
    rows: list[list[Cell]] = [
        ["decode the page", round(us["decode"], 2)],
        ["message key", round(us["key"], 2)],
        ["envelope", round(us["key_and_envelope"] - us["key"], 2)],
        ["records of the page", round(us["page"] - us["key_and_envelope"], 2)],
        ["produce (librdkafka's threads too)", round(produce_us, 2)],
        [f"commit ({transaction_us / 1000:.1f} ms, over {BATCH_CHANGES:,})", round(transaction_us / BATCH_CHANGES, 2)],
    ]
    for how, transcode in transcoders(topic).items():
        if how != "pure":

            def whole(transcode: Transcode = transcode) -> int:
                return len(transcode(body).changes)

            with on_core(MEASURED_CORE):
                rate = _interleaved(lab, {how: whole})[how]
            rows.append([f"{how} transcoder, instead of the first four", round(1e6 / rate.cpu, 2)])
    return Table("Step by step: µs of CPU a change (400 B items, Debezium)", ["step", "µs"], rows)


COLUMNS: Final = ["changes/CPU s", "changes/s", "µs CPU a change", "times naive"]


def _rates(lab: Lab, size: int) -> dict[str, Rates]:
    with contenders(lab, STREAMS, size) as steps, on_core(MEASURED_CORE):
        return _interleaved(lab, steps)


def _interleaved(lab: Lab, contenders: Mapping[str, Step]) -> dict[str, Rates]:
    return interleave(contenders, rounds=lab.rounds, seconds=lab.round_s)


@contextmanager
def contenders(lab: Lab, way: Way, size: int) -> Iterator[dict[str, Step]]:
    """Yield the naive pipeline and each way from the bytes of pages to a commit, by name, over items of a size."""
    topic, checkpoints = lab.topic(), lab.topic(1)
    bodies = [way.page(size, number) for number in range(way.bodies)]
    with ExitStack() as opened:
        server = opened.enter_context(lab.pages(Stream(item_bytes=size)))
        opened.enter_context(on_core(MEASURED_CORE))
        steps: dict[str, Step] = {NAIVE: way.naive(server.endpoint_url, lab.kafka, lab.topic()).step}
        for how, transcode in way.transcoders(topic).items():
            publisher = Publisher(lab.kafka, checkpoints)
            opened.callback(publisher.close)
            steps[how] = Carrier(publisher, transcode, bodies).step
        yield steps


def cells(rates: Mapping[str, Rates], name: str) -> list[Cell]:
    """Return what a contender did, for `COLUMNS`."""
    rate = rates[name]
    return [round(rate.cpu), round(rate.wall), _us(rate), round(rate.times(rates[NAIVE]), 1)]


def _us(rate: Rates) -> float:
    return round(1e6 / rate.cpu, 1)


def _table(title: str, rates: Mapping[str, Rates], lab: Lab) -> Table:
    rows: list[list[Cell]] = [[name, *cells(rates, name)] for name in rates]
    figures = {name: rate.times(rates[NAIVE]) for name, rate in rates.items()}
    return Table(title, ["how", *COLUMNS], rows, figures=figures)
