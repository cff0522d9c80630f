"""The configurations of sink connectors that write a lake's topics: Confluent's for S3, and Apache Iceberg's.

Sources: https://docs.confluent.io/kafka-connectors/s3-sink/current/configuration_options.html and
https://iceberg.apache.org/docs/latest/kafka-connect/
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

from tailrace.config.lake import S3, Lake
from tailrace.errors import FileError
from tailrace.formats.debezium import DebeziumFormat
from tailrace.operations.lake_targets import LakeTarget

_JSON: Final = "org.apache.kafka.connect.json.JsonConverter"
_BYTES: Final = "org.apache.kafka.connect.converters.ByteArrayConverter"
_TIMES: Final = {"year": "YYYY", "month": "YYYY-MM", "day": "YYYY-MM-dd", "hour": "YYYY-MM-dd'T'HH"}
_HOUR_MS: Final = 3_600_000
_FLUSH_RECORDS: Final = 100_000
_README: Final = "templates/lake-connect.md"


def connect_files(target: LakeTarget, topics: Sequence[str]) -> dict[str, bytes]:
    """Return the files by name. Raises FileError for a lake that these connectors cannot write."""
    lake = target.lake
    if not lake.location.startswith(S3):
        raise FileError(
            f"the lake {lake.name} is not in S3, where Confluent's sink connector writes to",
            hint="set `location: s3://bucket/prefix`",
        )
    if target.format is not DebeziumFormat:
        raise FileError(
            "records of this format have no envelope of Debezium, which Iceberg's sink connector takes apart",
            hint="set `format: debezium`",
        )
    common = {
        "tasks.max": "4",
        "topics": ",".join(topics),
        "consumer.override.isolation.level": "read_committed",
        "consumer.override.auto.offset.reset": "earliest",
    }
    template = resources.files(__package__).joinpath(_README).read_text()
    readme = template.format(lake=lake.name, name=target.name, location=lake.location, flush=f"{_FLUSH_RECORDS:,}")
    return {
        "s3-sink.json": _connector(f"{target.name}-lake-s3", common | _s3_sink(lake)),
        "iceberg-sink.json": _connector(f"{target.name}-lake-iceberg", common | _iceberg_sink(lake, target.name)),
        "README.md": readme.encode(),
    }


def _connector(name: str, config: Mapping[str, str]) -> bytes:
    content: dict[str, Any] = {"name": name, "config": config}
    return f"{json.dumps(content, indent=2)}\n".encode()


def _s3_sink(lake: Lake) -> dict[str, str]:
    bucket, _, prefix = lake.location.removeprefix(S3).partition("/")
    unit = next((by.unit for by in lake.partitions if by.unit), "day")
    config = {
        "connector.class": "io.confluent.connect.s3.S3SinkConnector",
        "key.converter": _BYTES,
        "value.converter": _BYTES,
        "format.class": "io.confluent.connect.s3.format.bytearray.ByteArrayFormat",
        "format.bytearray.extension": ".json",
        "storage.class": "io.confluent.connect.s3.storage.S3Storage",
        "s3.bucket.name": bucket,
        "topics.dir": "/".join(part for part in (prefix, "connect") if part),
        "flush.size": str(_FLUSH_RECORDS),
        "rotate.interval.ms": str(lake.file.age_ms),
        "partitioner.class": "io.confluent.connect.storage.partitioner.TimeBasedPartitioner",
        "partition.duration.ms": str(_HOUR_MS if unit == "hour" else 24 * _HOUR_MS),
        "path.format": f"'tailrace_ts_{unit}='{_TIMES[unit]}",
        "timestamp.extractor": "Record",
        "locale": "en-US",
        "timezone": "UTC",
        "behavior.on.null.values": "ignore",
    }
    return config | _given({"s3.region": lake.region, "store.url": lake.endpoint_url})


def _iceberg_sink(lake: Lake, name: str) -> dict[str, str]:
    catalog = dict(lake.catalog or {"type": "glue"})
    kind, namespace = catalog.pop("type"), catalog.pop("namespace", "") or name.replace(".", "_")
    shown = {"catalog-impl": "org.apache.iceberg.aws.glue.GlueCatalog"} if kind == "glue" else {"type": kind}
    if kind == "sql":
        shown = {"catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog"}
    shown |= {"warehouse": lake.location, "io-impl": "org.apache.iceberg.aws.s3.S3FileIO"}
    shown |= _given({"client.region": lake.region, "s3.endpoint": lake.endpoint_url})
    shown |= {key: catalog[key] for key in ("uri", "warehouse") if key in catalog and kind != "sql"}
    if kind == "sql":
        shown["uri"] = "jdbc:…"  # SQLAlchemy's URL may hold a password, and is no URL of JDBC
    return {
        "connector.class": "org.apache.iceberg.connect.IcebergSinkConnector",
        "key.converter": _JSON,
        "key.converter.schemas.enable": "false",
        "value.converter": _JSON,
        "value.converter.schemas.enable": "false",
        "transforms": "debezium",
        "transforms.debezium.type": "org.apache.iceberg.connect.transforms.DebeziumTransform",
        "transforms.debezium.cdc.target.pattern": f"{namespace}.{{table}}_changes",
        "iceberg.tables.dynamic-enabled": "true",
        "iceberg.tables.route-field": "_cdc.target",
        "iceberg.tables.auto-create-enabled": "true",
        "iceberg.tables.evolve-schema-enabled": "true",
        "iceberg.control.topic": f"{name}.lake-control",
        "iceberg.control.commit.interval-ms": str(lake.file.age_ms),
        **{f"iceberg.catalog.{key}": value for key, value in shown.items()},
    }


def _given(options: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in options.items() if value}
