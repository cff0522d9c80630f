"""What one key alone cannot tell: Kafka properties that nobody knows, and keys that contradict each other."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping

from tailrace import formats
from tailrace.config.interpolate import UNREAD_SECRET
from tailrace.config.lake_checks import lake_findings
from tailrace.config.model import Pipeline
from tailrace.config.problem import Finding, Path, kind_of, nearest, quoted
from tailrace.config.record_schema import RegisteredSchema
from tailrace.config.replica_checks import replica_findings
from tailrace.config.schema_checks import beside_connect, schema_findings
from tailrace.config.source import is_pattern
from tailrace.config.transform import Route
from tailrace.connect.chain import Chain
from tailrace.connect.converters import converter, needs_schemas
from tailrace.connect.options import OptionError
from tailrace.connect.registered import SCHEMA_TYPES
from tailrace.errors import TopicError
from tailrace.kafka import login, properties
from tailrace.kafka import topics as topic_names
from tailrace.kafka.schema_registry import SchemaRegistry
from tailrace.transform import functions

_BROKER = re.compile(r"^([A-Za-z_]+://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$")
_SETTABLE = (properties.COMMON | properties.PRODUCER | properties.CONSUMER | login.OURS) - set(properties.OWNED)
_HEADER_CONVERTER = "org.apache.kafka.connect.storage.SimpleHeaderConverter"


def kafka_findings(values: Mapping[str, object]) -> Iterator[Finding]:
    """Check the names of the `kafka` properties, and when all are right let librdkafka check the values."""
    findings = [*_property_names(values), *_brokers(values)]
    yield from findings
    if findings:
        return
    contradictions = list(login.contradictions({name: str(value) for name, value in values.items()}))
    yield from ((("kafka", name), wrong, remedy) for name, wrong, remedy in contradictions)
    if contradictions:
        return
    unread = {name for name, value in values.items() if UNREAD_SECRET in str(value)}
    is_key_unread = any(name.startswith("ssl.") for name in unread)  # librdkafka tries keys and passwords together
    known = {name: str(value) for name, value in values.items() if not (is_key_unread and name.startswith("ssl."))}
    for fault in properties.faults(known):
        if fault.name in unread:
            continue
        path = ("kafka", fault.name) if fault.name else ("kafka",)
        yield path, f"librdkafka refuses it: {fault.reason}", _remedy(fault.reason)


def _property_names(values: Mapping[str, object]) -> Iterator[Finding]:
    for name, value in values.items():
        if name in properties.JAVA_ONLY:
            yield ("kafka", name), "is a property of the Java clients, not of librdkafka", properties.JAVA_ONLY[name]
        elif name in properties.OWNED:
            yield ("kafka", name), f"cannot be set: {properties.OWNED[name]}", "leave it out"
        elif isinstance(value, Mapping | list):
            remedy = "write each property on a line of its own, e.g. `bootstrap.servers: localhost:9092`"
            yield ("kafka", name), f"must be text, a number or true or false, not {kind_of(value)}", remedy
        elif name not in _SETTABLE:
            known = nearest(name, _SETTABLE) or "see librdkafka's CONFIGURATION.md for those that there are"
            yield ("kafka", name), "is not a property that librdkafka knows", known
        elif value is None:
            yield ("kafka", name), "has no value", "give one, or leave the key out"


def _brokers(values: Mapping[str, object]) -> Iterator[Finding]:
    path, brokers = ("kafka", "bootstrap.servers"), values.get("bootstrap.servers", "")
    if "bootstrap.servers" not in values and isinstance(values.get("bootstrap"), Mapping):
        return  # it is there, but not flat; that is told already
    if "bootstrap.servers" not in values:
        yield path, "is missing", "add e.g. `bootstrap.servers: localhost:9092` below `kafka:`"
    elif isinstance(brokers, str) and not all(_BROKER.match(broker.strip()) for broker in brokers.split(",")):
        yield path, f"{quoted(brokers)} is not a list of brokers", "write `host:port`, several with commas between"


def _remedy(reason: str) -> str:
    if "GSSAPI" in reason:
        return (
            "set `sasl.mechanism` to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM; for Kerberos "
            "install a confluent-kafka built with GSSAPI: pip install --no-binary confluent-kafka confluent-kafka"
        )
    if "location" in reason:
        return "check that the file is there, can be read and holds what the key asks for"
    return "see librdkafka's CONFIGURATION.md for what it takes"


def pipeline_findings(pipeline: Pipeline) -> Iterator[Finding]:
    """Check the keys that must agree with each other."""
    if findings := list(beside_connect(pipeline)) or list(_connect(pipeline)):
        yield from findings  # topics follow from it, so they cannot be checked
        return
    if pipeline.batch.size_bytes > pipeline.buffer_bytes:
        yield ("batch", "bytes"), "is more than `buffer`, so no batch could fill", "raise `buffer` or lower it"
    if pipeline.function.parallelization_factor > 1 and pipeline.function.window_ms:
        remedy = "set `window: 0s` to publish at least once, or leave `parallelization_factor` at 1 for exactly once"
        yield ("lambda", "parallelization_factor"), "is above 1 together with a window, which AWS refuses", remedy
    view_type = pipeline.source.stream_to_enable
    if view_type and (why := formats.FORMATS[pipeline.format.type].why_not(view_type)):
        yield ("source", "enable_streams"), f"is {view_type}", why
    yield from _schemas(pipeline)
    yield from _tables(pipeline)
    yield from _topics(pipeline)
    yield from _steps(pipeline)
    yield from _on_gap(pipeline)
    yield from schema_findings(pipeline)
    several = pipeline.parts_streams or any(step.route for step in pipeline.transform)
    remedy = "leave `{stream}` and routes out, or keep `changes` alone"
    yield from lake_findings(
        pipeline.lakes,
        pipeline.name,
        pipeline.source.named_tables,
        record_format=pipeline.format.type,
        several_topics=remedy if several else None,
    )
    yield from replica_findings(pipeline)
    yield from _read_back(pipeline)


def _tables(pipeline: Pipeline) -> Iterator[Finding]:
    seen: set[str] = set()
    for entry in pipeline.source.tables_read:
        if entry.text in seen:
            yield entry.path, f"{quoted(entry.text)} is given twice", "keep one"
        elif not entry.is_pattern and not pipeline.source.reads(entry.text):
            yield entry.path, f"{quoted(entry.text)} is also left out by `exclude`", "keep it in one of them"
        seen.add(entry.text)


def _topics(pipeline: Pipeline) -> Iterator[Finding]:
    if pipeline.dead_letters_topic == pipeline.checkpoints_topic:
        yield ("dead_letters",), "is the topic of the checkpoints", "give another name"
    source = pipeline.source
    if pipeline.parts_streams and not source.has_streams:
        yield ("topic",), "has `{stream}`, and the source reads tables", "use `{table}`"
        return
    if pipeline.parts_streams and (pipeline.snapshot.mode != "never" or pipeline.on_gap.resnapshots_any):
        yield (
            ("topic",),
            "has `{stream}`, and rows of snapshots come with no stream",
            "name one stream, or use `{table}`",
        )
    is_apart = "{table}" in pipeline.topic or (pipeline.parts_streams and not source.carries_changes)
    if not is_apart and source.only_table is None:
        remedy = "put `{table}` into it: items of different tables can have the same key"
        yield ("topic",), "would put several tables into one topic", remedy
    known = {pipeline.checkpoints_topic, pipeline.dead_letters_topic}
    for table, stream, path in _named_with_streams(pipeline):
        try:
            pipeline.topic_of(table, stream)
        except TopicError as error:
            yield path, error.message, error.hint
            continue
        with contextlib.suppress(TopicError):  # what is wrong with a route is told where that is checked
            for topic in pipeline.topics_of(table, stream):
                if other := topic_names.colliding(topic, sorted(known)):
                    wrong = f"the topic {quoted(topic)} of table {table} cannot be made beside {quoted(other)}"
                    yield path, f"{wrong}: to Kafka `.` and `_` are alike", topic_names.OTHER_TOPIC
                known.add(topic)


def _on_gap(pipeline: Pipeline) -> Iterator[Finding]:
    source = pipeline.source
    if not source.carries_changes:
        for key, is_set in (
            ("snapshot", pipeline.snapshot.mode != "never"),
            ("on_gap", pipeline.on_gap.resnapshots_any),
        ):
            if is_set:
                yield (key,), "reads tables, and the records of the streams are raw", "leave it out"
    for name in pipeline.on_gap.tables:
        path = ("on_gap", "tables", name)
        if not source.carries_tables:
            yield from _no_table(pipeline, name, path)
        elif not is_pattern(name) and not source.reads(name):
            entries = [entry.text for entry in source.tables_read]
            yield path, f"{quoted(name)} is no stream of the pipeline", nearest(name, entries) or "name its stream"


def _connect(pipeline: Pipeline) -> Iterator[Finding]:
    """Check Connect's properties, if there are any, by making what they stand for."""
    if not pipeline.connect_properties:
        return
    if pipeline.record_schema:
        for name in pipeline.connect:
            if name.startswith(("key.converter", "value.converter")):
                yield ("connect", name), "is given beside `schema`, which says how records are written", "keep one"
    properties_of = pipeline.connect_properties
    makes: list[Callable[[], object]] = [lambda: Chain(properties_of)]
    if not isinstance(pipeline.record_schema, RegisteredSchema):
        makes.append(lambda: converter(properties_of, "key", SchemaRegistry))
        makes.append(lambda: converter(properties_of, "value", SchemaRegistry))
    for make in makes:
        try:
            make()
        except OptionError as error:
            yield ("connect", error.name), error.message, error.hint
    for name in properties_of:
        if not name.startswith(("key.converter", "value.converter", "header.converter", "transforms", "predicates")):
            remedy = "here are key.converter, value.converter, header.converter, transforms and predicates"
            yield ("connect", name), "is not about what Connect does with records", remedy
    header = properties_of.get("header.converter", _HEADER_CONVERTER)
    if header != _HEADER_CONVERTER:
        yield (
            ("connect", "header.converter"),
            f"{quoted(header)} is not known",
            f"leave it out: it is {_HEADER_CONVERTER}",
        )


def _schemas(pipeline: Pipeline) -> Iterator[Finding]:
    """Check that records have schemas where a converter needs them."""
    if not pipeline.source.carries_changes or formats.FORMATS[pipeline.format.type].has_schemas:
        return
    for family in needs_schemas(pipeline.connect):
        name = f"{family}.converter"
        wrong = f"needs schemas, and the records of the format {pipeline.format.type} have none"
        kind = SCHEMA_TYPES[pipeline.connect[name].strip()]
        instead = f"leave the converters out, and write `schema: {{type: {kind}, registry: {{url: …}}}}`"
        yield ("connect", name), wrong, instead


def _read_back(pipeline: Pipeline) -> Iterator[Finding]:
    """Check that nothing is asked for that has to read the pipeline's own records again."""
    if pipeline.reads_back:
        return
    keys = [name for name, value in (("schema", pipeline.record_schema), ("connect", pipeline.connect)) if value]
    what = f"`{keys[0]}`" if keys else f"the format {pipeline.format.type}"
    wrong = f"needs records that can be read back, and those of {what} cannot"
    if pipeline.snapshot.mode == "when_needed":
        yield ("snapshot",), f"is when_needed, which {wrong}", "use initial, and after a gap start a snapshot by hand"
    if pipeline.on_gap.default == "resnapshot" or "resnapshot" in pipeline.on_gap.tables.values():
        yield ("on_gap",), f"is resnapshot, which {wrong}", "use fail, and after a gap start a snapshot by hand"


def _no_table(pipeline: Pipeline, table: str, path: Path) -> Iterator[Finding]:
    """Check that a name at `path` is that of a table of the pipeline; a pattern may match one that comes later."""
    if not is_pattern(table) and not pipeline.source.publishes(table):
        entries = [name for name, _ in _named(pipeline)] or [entry.text for entry in pipeline.source.tables_read]
        yield path, f"{quoted(table)} is no table of the pipeline", nearest(table, entries) or "leave it out"


def _steps(pipeline: Pipeline) -> Iterator[Finding]:
    entries = ["*"] if pipeline.source.carries_tables else [entry.text for entry in pipeline.source.tables_read]
    routed: dict[str, int] = {}
    if pipeline.transform and not pipeline.source.carries_changes:
        yield ("transform",), "works on changes of tables, and the records of the streams are raw", "leave it out"
        return
    for index, step in enumerate(pipeline.transform):
        names = step.tables or entries
        for number, table in enumerate(step.tables):
            yield from _no_table(pipeline, table, ("transform", index, "tables", number))
        if step.route is None:
            continue
        only_one = len(names) == 1 and not is_pattern(names[0])
        for template in step.route.templates:
            if "{table}" not in template and not (only_one if step.tables else pipeline.source.only_table):
                remedy = (
                    "put `{table}` into it, or give one table to the step: items of different tables can have one key"
                )
                yield ("transform", index, "route"), f"would put several tables into {quoted(template)}", remedy
        for table in dict.fromkeys((*names, *(name for name, _ in _named(pipeline) if step.is_for(name)))):
            if table in routed:
                wrong = f"is a second route for {quoted(table)}, after transform[{routed[table]}]"
                yield ("transform", index, "route"), wrong, "make one of them"
            elif not is_pattern(table):
                yield from _routed_topics(pipeline, index, step.route, table)
            routed.setdefault(table, index)


def _routed_topics(pipeline: Pipeline, index: int, route: Route, table: str) -> Iterator[Finding]:
    path = ("transform", index, "route")
    try:
        own = {pipeline.filled(template, table) for template in route.templates}
    except TopicError as error:
        yield path, error.message, error.hint
        return
    for other, _ in _named(pipeline):
        if other == table:
            continue
        with contextlib.suppress(TopicError):  # what is wrong with the other is told where that is checked
            for topic in sorted(own.intersection(pipeline.topics_of(other))):
                wrong = f"sends changes of {table} to {quoted(topic)}, a topic of {other}"
                yield path, wrong, "items of different tables can have one key: give another topic"


def _named_with_streams(pipeline: Pipeline) -> Iterator[tuple[str, str | None, Path]]:
    """Yield the tables that the source names, each with every stream that it may come with where topics depend on it;
    and where."""
    if not pipeline.parts_streams:
        yield from ((table, None, path) for table, path in _named(pipeline))
        return
    for entry in pipeline.source.tables_read:
        if not entry.is_pattern:
            yield from ((table, entry.text, entry.path) for table in pipeline.source.tables_of(entry.text))


def _named(pipeline: Pipeline) -> list[tuple[str, Path]]:
    """Return the tables that the source names, no patterns, and where."""
    source = pipeline.source
    entries = [entry for entry in source.tables_read if not entry.is_pattern]
    return [(table, entry.path) for entry in entries[:1] for table in source.tables_of(entry.text)] + [
        (table, entry.path) for entry in entries[1:] for table in source.tables_of(entry.text) if table == entry.text
    ]


def named_functions(transform: object) -> dict[Path, str]:
    """Return the functions that the `transform` key names, by their paths, whatever else is wrong in the file."""
    steps = transform if isinstance(transform, list) else [{"function": transform}]
    names = {index: step.get("function") for index, step in enumerate(steps) if isinstance(step, Mapping)}
    return {
        ("transform", index, "function"): name
        for index, name in names.items()
        if isinstance(name, str) and re.match(functions.NAME_PATTERN, name)
    }


def function_findings(named: Mapping[Path, str]) -> Iterator[Finding]:
    """Import the functions of the steps, and check that they are there."""
    for path, name in named.items():
        try:
            functions.find(name)
        except functions.FunctionError as error:
            yield path, error.message, error.hint
