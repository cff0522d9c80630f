"""The section `lake` as a job of Flink SQL: a source and a sink for each table, and one statement that fills all. Pure.

A record is read as text and taken apart by SQL: the text stays in `__value`, exactly, whatever a column can hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tailrace.config.lake import Lake, PartitionBy
from tailrace.config.lake_columns import ColumnType

FOLDER: Final = "_tailrace/flink"
"""Below the location: the notes of runs, and the checkpoints of each."""

_META: Final = {
    "__ts": ("TIMESTAMP_LTZ(3)", "timestamp"),
    "__topic": ("STRING", "topic"),
    "__partition": ("INT", "partition"),
    "__offset": ("BIGINT", "offset"),
    "__headers": ("MAP<STRING, BYTES>", "headers"),
}
_TYPES: Final = {
    "string": "STRING",
    "json": "STRING",
    "boolean": "BOOLEAN",
    "bigint": "BIGINT",
    "double": "DOUBLE",
}
_TIMES: Final = {"year": "yyyy", "month": "yyyy-MM", "day": "yyyy-MM-dd", "hour": "yyyy-MM-dd''T''HH"}
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
_RESTARTS: Final = {
    "restart-strategy.type": "failure-rate",
    "restart-strategy.failure-rate.max-failures-per-interval": "3",
    "restart-strategy.failure-rate.failure-rate-interval": "5 min",
    "restart-strategy.failure-rate.delay": "5 s",
}
"""A broker or a store that is away for a moment is no end; a value that fits no column is, after three attempts."""


class Table(NamedTuple):
    """A table of DynamoDB, and the topics that hold its changes."""

    name: str
    topics: Sequence[str]


def settings(lake: Lake, job: str, checkpoints: str) -> dict[str, str]:
    """Return the configuration of the job. `checkpoints` is the URI of a folder for its state."""
    return {
        "pipeline.name": job,
        "execution.runtime-mode": "streaming",
        "table.local-time-zone": "UTC",
        "execution.checkpointing.interval": f"{lake.file.age_ms} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": checkpoints,
        "execution.checkpointing.create-subdir": "false",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        **_RESTARTS,
    }


def statements(lake: Lake, tables: Sequence[Table], kafka: Mapping[str, str], group: str) -> Iterator[str]:
    """Yield the statements: those that make the tables, and at last the one that is the job.

    `kafka` has properties of Java's clients.
    """
    for table in tables:
        yield _source(table, kafka, group)
        yield _sink(lake, table)
    inserts = "".join(f"{_insert(lake, table)};\n" for table in tables)
    yield f"EXECUTE STATEMENT SET BEGIN\n{inserts}END"


def setting(name: str, value: str) -> str:
    """Return the statement that sets an option."""
    return f"SET {_text(name)} = {_text(value)}"


def _source(table: Table, kafka: Mapping[str, str], group: str) -> str:
    columns = [f"{_name(name)} {kind} METADATA FROM {_text(of)} VIRTUAL" for name, (kind, of) in _META.items()]
    columns += ["`__key` STRING", "`__value` STRING"]
    options = {
        "connector": "kafka",
        "topic": ";".join(table.topics),
        **{f"properties.{name}": value for name, value in kafka.items()},
        "properties.group.id": group,
        "properties.isolation.level": "read_committed",
        "scan.startup.mode": "earliest-offset",
        "key.format": "raw",
        "key.fields": "__key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    return _create(f"{table.name}_topics", columns, options)


def _sink(lake: Lake, table: Table) -> str:
    columns = ["`__op` STRING", *(f"{_name(name)} {kind}" for name, (kind, _) in _META.items())]
    columns += ["`__key` STRING", "`__value` STRING"]
    columns += [f"{_name(name)} {kind}" for name, (kind, _) in _columns(lake, table.name).items()]
    columns += [f"{_name(by.directory)} STRING" for by in lake.partitions]
    options = {
        "connector": "filesystem",
        "path": f"{lake.location}/{table.name}/changes",
        "format": "parquet",
        "parquet.compression": "ZSTD",
        "parquet.utc-timezone": "true",
        "parquet.write.int64.timestamp": "true",
        "parquet.timestamp.time.unit": "millis",
        "partition.default-name": _NO_VALUE,
        "sink.rolling-policy.file-size": f"{lake.file.size_bytes} b",
    }
    by = ", ".join(_name(each.directory) for each in lake.partitions)
    return _create(f"{table.name}_changes", columns, options, by)


def _create(name: str, columns: Sequence[str], options: Mapping[str, str], partitioned_by: str = "") -> str:
    shown = ",\n  ".join(columns)
    given = ",\n  ".join(f"{_text(key)} = {_text(value)}" for key, value in options.items())
    by = f" PARTITIONED BY ({partitioned_by})" if partitioned_by else ""
    return f"CREATE TEMPORARY TABLE {_name(name)} (\n  {shown}\n){by} WITH (\n  {given}\n)"


def _insert(lake: Lake, table: Table) -> str:
    columns = _columns(lake, table.name)
    values = ["JSON_VALUE(`__value`, '$.op')", *(_name(name) for name in _META), "`__key`", "`__value`"]
    values += [value for _, value in columns.values()]
    values += [_partition(by, columns) for by in lake.partitions]
    shown = ",\n  ".join(values)
    return (
        f"INSERT INTO {_name(f'{table.name}_changes')} SELECT\n  {shown}\n"
        f"FROM {_name(f'{table.name}_topics')} WHERE `__value` IS NOT NULL"
    )


def _columns(lake: Lake, table: str) -> dict[str, tuple[str, str]]:
    """Return the type and the value of each declared column."""
    found: dict[str, tuple[str, str]] = {}
    for attribute, options in lake.columns_of(table).items():
        if not options.drop:
            declared = options.column_type or ColumnType("json")
            found[options.name or attribute] = (_type(declared), _value(attribute, declared))
    return found


def _type(declared: ColumnType) -> str:
    if declared.of is not None:
        return f"ARRAY<{_type(declared.of)}>"
    if declared.name == "decimal":
        return f"DECIMAL({declared.precision}, {declared.scale})"
    return _TYPES[declared.name]


def _value(attribute: str, declared: ColumnType) -> str:
    """Return the value of an attribute: before a delete, after any other change."""
    before, after = (_of_image(f"$.{image}{_member(attribute)}", declared) for image in ("before", "after"))
    value = f"CASE WHEN JSON_VALUE(`__value`, '$.op') = 'd' THEN {before} ELSE {after} END"
    return value if declared.name in {"string", "json"} else f"CAST({value} AS {_type(declared)})"


def _of_image(path: str, declared: ColumnType) -> str:
    where = f"`__value`, {_text(path)}"
    if declared.of is not None:
        return f"JSON_QUERY({where} RETURNING ARRAY<STRING>)"
    if declared.name == "json":
        # In a list of its own, since JSON_QUERY returns lists and maps alone.
        alone = f"JSON_QUERY({where} WITH UNCONDITIONAL ARRAY WRAPPER)"
        return f"SUBSTRING({alone}, 2, CHAR_LENGTH({alone}) - 2)"
    # A list or map is null to JSON_VALUE: its text stands instead, or ends the job where it is no number.
    return f"COALESCE(JSON_VALUE({where}), JSON_QUERY({where}))"


def _partition(by: PartitionBy, columns: Mapping[str, tuple[str, str]]) -> str:
    if by.unit:
        return f"DATE_FORMAT(`__ts`, '{_TIMES[by.unit]}')"
    _, value = columns[by.column]
    return f"CAST({value} AS STRING)"


def _member(attribute: str) -> str:
    escaped = attribute.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


def _name(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
