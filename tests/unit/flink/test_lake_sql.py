"""The section `lake` as statements of Flink SQL, and what Kafka's Java clients are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.pipeline_file import write_file
from tailrace.config import load
from tailrace.config.lake import Lake
from tailrace.errors import FileError
from tailrace.flink.kafka_options import java_options
from tailrace.flink.lake_sql import Table, setting, settings, statements

KAFKA = {"bootstrap.servers": "localhost:9092"}


def lake_of(folder: Path, **lake: Any) -> Lake:
    section = {"location": "s3://analytics/shop", "engine": "flink", **lake}
    (found,) = load(write_file(folder, KAFKA, "shop", lake=section)).pipeline.lakes
    return found


def test_a_source_a_sink_and_one_statement_that_fills_it(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, partition_by=["day(__ts)", "region"], columns={"orders": {"region": "string"}})
    source, sink, job = statements(lake, [Table("orders", ["shop.orders", "shop.orders.eu"])], KAFKA, "a group")
    assert "'topic' = 'shop.orders;shop.orders.eu'" in source
    assert "'properties.isolation.level' = 'read_committed'" in source
    assert "'properties.group.id' = 'a group'" in source
    assert "PARTITIONED BY (`tailrace_ts_day`, `tailrace_by_region`)" in sink
    assert "'path' = 's3://analytics/shop/orders/changes'" in sink
    assert job.startswith("EXECUTE STATEMENT SET BEGIN\nINSERT INTO `orders_changes` SELECT")
    assert "DATE_FORMAT(`__ts`, 'yyyy-MM-dd')" in job
    assert job.endswith("END")


def test_columns_are_those_declared_under_their_names(tmp_path: Path) -> None:
    declared = {
        "n": "decimal(12, 2)",
        "tags": "list(bigint)",
        "it's": {"name": "its", "type": "json"},
        "x": {"drop": True},
    }
    _, sink, job = statements(lake_of(tmp_path, columns={"*": declared}), [Table("orders", ["t"])], KAFKA, "g")
    assert "`n` DECIMAL(12, 2)" in sink
    assert "`tags` ARRAY<BIGINT>" in sink
    assert "`its` STRING" in sink
    assert "`x`" not in sink
    assert "'$.before[''it\\''s'']'" in job


def test_the_age_of_a_file_is_the_interval_of_checkpoints(tmp_path: Path) -> None:
    options = settings(lake_of(tmp_path, file={"age": "90s"}), "job", "s3://analytics/shop/_tailrace/flink/00000001")
    assert options["execution.checkpointing.interval"] == "90000 ms"
    assert setting("a", "it's") == "SET 'a' = 'it''s'"


def test_logins_are_those_of_java_clients() -> None:
    kafka = {
        **KAFKA,
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "lake",
        "sasl.password": 'a"b\\c',
        "ssl.ca.location": "/etc/ca.pem",
        "queue.buffering.max.ms": "5",
    }
    assert java_options(kafka) == {
        "bootstrap.servers": "localhost:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="lake" password="a\\"b\\\\c";',
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "/etc/ca.pem",
    }


@pytest.mark.parametrize(
    "refused",
    [
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"},
        {"security.protocol": "SASL_SSL"},
        {"security.protocol": "SSL", "ssl.certificate.location": "/etc/client.pem"},
    ],
)
def test_other_logins_are_refused_by_name(refused: dict[str, str]) -> None:
    with pytest.raises(FileError, match=r"^kafka\.(sasl|ssl)"):
        java_options(KAFKA | refused)
