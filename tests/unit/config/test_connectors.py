"""Connectors' configurations as pipelines: their documented examples, every key, and a sentence for each mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailrace.config import FileErrors, LoadedPipeline, import_text, load
from tailrace.config.connectors import CONNECTORS, framework
from tailrace.config.connectors.connector import Connector
from tailrace.config.connectors.translate import keys_of

CLIENTS = "bootstrap.servers=broker:9092\nschema.registry.url=http://registry:8081\nbasic.auth.user.info=me:pass-word\n"
TRUSTPILOT: dict[str, Any] = {
    "connector.class": "DynamoDBSourceConnector",
    "aws.region": "eu-west-1",
    "aws.access.key.id": "",
    "aws.secret.key": "",
    "dynamodb.table.env.tag.key": "environment",
    "dynamodb.table.env.tag.value": "dev",
    "dynamodb.table.ingestion.tag.key": "datalake-ingest",
    "dynamodb.table.whitelist": "",
    "dynamodb.service.endpoint": "",
    "kcl.table.billing.mode": "PROVISIONED",
    "resource.tagging.service.endpoint": "",
    "kafka.topic.prefix": "dynamodb-",
    "tasks.max": "1",
    "init.sync.delay.period": 60,
    "connect.dynamodb.rediscovery.period": "60000",
}
CONFLUENT: dict[str, Any] = {
    "connector.class": "DynamoDbCdcSource",
    "name": "DynamoDbCdcSource_0",
    "kafka.auth.mode": "KAFKA_API_KEY",
    "kafka.api.key": "api-key",
    "kafka.api.secret": "api-secret",
    "aws.access.key.id": "AKIAIOSFODNN7EXAMPLE",
    "aws.secret.access.key": "aws-secret-key",
    "dynamodb.service.endpoint": "https://dynamodb.us-east-2.amazonaws.com",
    "dynamodb.table.discovery.mode": "TAG",
    "dynamodb.table.tag.filters": "env:prod,staging;team:",
    "output.data.format": "JSON",
    "tasks.max": "1",
}
KINESIS = """\
name=KinesisSourceConnector1
connector.class=io.confluent.connect.kinesis.KinesisSourceConnector
tasks.max=1
kafka.topic=kinesis_topic
kinesis.stream=my_kinesis
kinesis.region=EU_WEST_3
kinesis.position=AT_TIMESTAMP
kinesis.shard.timestamp=1767312000000
confluent.license=
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.converters.ByteArrayConverter
"""


@pytest.fixture(autouse=True)
def _no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "TAILRACE_KAFKA"):
        monkeypatch.delenv(name, raising=False)


def written(folder: Path, config: object, clients: str = CLIENTS) -> tuple[Path, Path]:
    connector = folder / ("connector.properties" if isinstance(config, str) else "connector.json")
    connector.write_text(config if isinstance(config, str) else json.dumps(config, indent=2))
    kafka = folder / "client.properties"
    kafka.write_text(clients)
    return connector, kafka


def loaded(folder: Path, config: object, clients: str = CLIENTS) -> LoadedPipeline:
    connector, kafka = written(folder, config, clients)
    return load(connector, kafka=kafka)


def sentences(folder: Path, config: object, clients: str = CLIENTS) -> list[str]:
    with pytest.raises(FileErrors) as caught:
        loaded(folder, config, clients)
    return [str(error).replace(f"{folder}/", "") for error in caught.value.errors]


def test_trustpilots_documented_configuration(tmp_path: Path) -> None:
    found = loaded(tmp_path, {"name": "datalake sync", "config": TRUSTPILOT})
    shown = found.pipeline.shown()
    assert shown["name"] == "datalake-sync"
    assert shown["kafka"] == {"bootstrap.servers": "broker:9092"}
    source = shown["source"]
    assert source["tags"] == {"datalake-ingest": ["*"], "environment": ["dev"]}
    assert (source["region"], source["discovery"]["interval"]) == ("eu-west-1", "1m")
    assert (shown["topic"], shown["format"], shown["errors"]) == ("dynamodb-{table}", "trustpilot", "fail")
    assert shown["snapshot"]["mode"] == "initial"
    assert shown["connect"]["value.converter"] == "org.apache.kafka.connect.json.JsonConverter"
    assert {each.key for each in found.notes} == {"tasks.max", "kcl.table.billing.mode", "init.sync.delay.period"}


def test_tables_topics_and_endpoints_of_trustpilots(tmp_path: Path) -> None:
    more = {
        "dynamodb.table.whitelist": "orders, users",
        "kafka.topic.map": '{"orders": "all-orders"}',
        "dynamodb.service.endpoint": "http://localhost:8000",
        "resource.tagging.service.endpoint": "http://localhost:8001",
        "aws.assume.role.arn": "arn:aws:iam::123456789012:role/reader",
        "topic.creation.default.partitions": "12",
        "topic.creation.default.replication.factor": "-1",
        "topic.creation.default.cleanup.policy": "compact",
        "producer.override.linger.ms": "20",
        "errors.tolerance": "all",
    }
    pipeline = loaded(tmp_path, TRUSTPILOT | more).pipeline
    assert pipeline.source.named_tables == ("orders", "users")
    assert [pipeline.topic_of(table) for table in ("orders", "users")] == ["dynamodb-all-orders", "dynamodb-users"]
    assert pipeline.source.endpoint_url == "http://localhost:8000"
    assert pipeline.topics.partitions == 12
    assert pipeline.topics.properties == {"cleanup.policy": "compact"}
    assert pipeline.kafka["linger.ms"] == "20"
    assert pipeline.errors == "dead-letter"


def test_confluents_documented_configuration(tmp_path: Path) -> None:
    found = loaded(tmp_path, CONFLUENT)
    shown = found.pipeline.shown()
    assert shown["kafka"] == {
        "bootstrap.servers": "broker:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "api-key",
        "sasl.password": "***",
    }
    assert shown["source"]["region"] == "us-east-2"
    assert shown["source"]["endpoint_url"] is None
    assert shown["source"]["tags"] == {"env": ["prod", "staging"], "team": ["*"]}
    assert shown["snapshot"] | {"segments": None} == shown["snapshot"] | {"mode": "initial", "segments": None}
    assert shown["connect"]["value.converter.schemas.enable"] == "false"
    text = found.secrets.redact("aws-secret-key api-secret")
    assert text == "*** ***"


@pytest.mark.parametrize(
    ("more", "mode", "start"),
    [
        ({"dynamodb.table.sync.mode": "CDC"}, "never", "trim_horizon"),
        ({"dynamodb.table.sync.mode": "cdc", "dynamodb.cdc.initial.stream.position": "LATEST"}, "never", "latest"),
        ({"dynamodb.snapshot.max.rcu.percentage": "20"}, "initial", "trim_horizon"),
    ],
)
def test_how_confluents_begins(tmp_path: Path, more: dict[str, str], mode: str, start: str) -> None:
    shown = loaded(tmp_path, CONFLUENT | more).pipeline.shown()
    assert (shown["snapshot"]["mode"], shown["source"]["start"]) == (mode, start)


def test_a_registry_is_taken_from_the_properties_of_clients(tmp_path: Path) -> None:
    connector, kafka = written(tmp_path, CONFLUENT | {"output.data.format": "AVRO"})
    text = yaml.safe_load(import_text(connector, kafka))
    assert text["connect"]["value.converter"] == "io.confluent.connect.avro.AvroConverter"
    assert text["connect"]["value.converter.schema.registry.url"] == "http://registry:8081"
    assert text["connect"]["value.converter.basic.auth.user.info"].startswith("${env:")


def test_kinesis(tmp_path: Path) -> None:
    found = loaded(tmp_path, KINESIS)
    shown = found.pipeline.shown()
    source = shown["source"]
    assert (source["type"], source["streams"], source["region"]) == ("kinesis", ["my_kinesis"], "eu-west-3")
    assert (source["records"], source["start"], source["deaggregate"]) == ("raw", 1767312000000, False)
    assert (shown["name"], shown["topic"]) == ("KinesisSourceConnector1", "kinesis_topic")
    managed = KINESIS.replace("io.confluent.connect.kinesis.KinesisSourceConnector", "KinesisSource").replace(
        "confluent.license=\n", ""
    )
    assert loaded(tmp_path, managed).pipeline.shown()["connect"]["value.converter"].endswith("ByteArrayConverter")


def test_our_own_connector_has_the_keys_of_a_pipeline_file(tmp_path: Path) -> None:
    own = {
        "connector.class": "io.tailrace.TailraceSource",
        "name": "shop",
        "source.type": "dynamodb-streams",
        "source.tables": "orders,users-*",
        "source.discovery.interval": "5s",
        "source.readers": "4",
        "snapshot.read_capacity": "25%",
        "snapshot.mode": "initial",
        "topics.properties.cleanup.policy": "compact",
        "topic": "{table}",
        "transform": '[{"exclude": ["secret"]}]',
        "kafka.linger.ms": "5",
        "tombstones": "false",
        "schema.type": "avro",
        "schema.registry.url": "http://registry:8081",
        "schema.registry.basic.auth.user.info": "007:secret",
    }
    shown = loaded(tmp_path, own).pipeline.shown()
    assert shown["source"]["tables"] == ["orders", "users-*"]
    assert shown["topics"]["properties"] == {"cleanup.policy": "compact"}
    assert (shown["topic"], shown["tombstones"], shown["source"]["readers"]) == ("{table}", False, 4)
    assert shown["kafka"] == {"bootstrap.servers": "broker:9092", "linger.ms": "5"}
    assert shown["schema"]["registry"] == {"url": "http://registry:8081", "basic.auth.user.info": "***"}
    assert sentences(tmp_path, own | {"source.tabels": "x"})[0].startswith(
        "connector.json:18: source.tabels: is not a key"
    )


@pytest.mark.parametrize("connector", CONNECTORS, ids=lambda each: each.title)
def test_every_key_has_a_meaning_or_a_reason(connector: Connector) -> None:
    for name, key in keys_of(connector).items():
        assert key.means, name
        assert key.is_honoured or not key.required
        assert not framework.claims(name) or name in {each.name for each in framework.KEYS}


@pytest.mark.parametrize("config", [{"name": "a", "config": TRUSTPILOT}, CONFLUENT, KINESIS])
def test_what_is_imported_is_the_same_pipeline(config: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connector, kafka = written(tmp_path, config)
    text = import_text(connector, kafka)
    for secret in ("api-secret", "aws-secret-key", "pass-word"):
        assert secret not in text
    monkeypatch.setenv("SASL_PASSWORD", "api-secret")
    monkeypatch.setenv("SECRET_ACCESS_KEY", "aws-secret-key")
    (tmp_path / "pipeline.yaml").write_text(text)
    assert load(tmp_path / "pipeline.yaml").pipeline.shown() == load(connector, kafka=kafka).pipeline.shown()


def test_references_are_filled_in_and_stay_references_when_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM", "from-env")
    (tmp_path / "secrets.properties").write_text("key=AKIAIOSFODNN7EXAMPLE\nsecret=s3cret-of-aws\n")
    config = KINESIS.replace("my_kinesis", "${env:STREAM}") + (
        "aws.access.key.id=${file:secrets.properties:key}\naws.secret.key.id=${file:secrets.properties:secret}\n"
    )
    found = loaded(tmp_path, config)
    assert found.pipeline.source.named_tables == ("from-env",)
    assert found.secrets.redact("s3cret-of-aws") == "***"
    text = import_text(*written(tmp_path, config))
    assert "[${env:STREAM}]" in text or "['${env:STREAM}']" in text
    assert "${file:secrets.properties:secret}" in text


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({**CONFLUENT, "colour": "red"}, "connector.json:14: colour: is not a key of this connector; take it out"),
        (
            {**CONFLUENT, "dynamodb.table.sync.mod": "CDC"},
            "connector.json:14: dynamodb.table.sync.mod: is not a key of this connector; did you mean "
            "`dynamodb.table.sync.mode`?",
        ),
        (
            {**CONFLUENT, "dynamodb.table.sync.mode": "SNAPSHOT"},
            "connector.json:14: dynamodb.table.sync.mode: asks for a copy of the tables without what is written "
            "meanwhile, which would not be exact; use SNAPSHOT_CDC; to copy a table once, export it: "
            "aws dynamodb export-table-to-point-in-time",
        ),
        (
            {**CONFLUENT, "provider.integration.id": "cspi-1"},
            "connector.json:14: provider.integration.id: names a role of Confluent Cloud's, which cannot be assumed "
            "from elsewhere; use an access key, or leave it out and give this process a role",
        ),
        (
            {name: value for name, value in CONFLUENT.items() if name != "aws.secret.access.key"},
            "connector.json: aws.secret.access.key: is missing beside `aws.access.key.id`; give both, or neither",
        ),
        (
            {**CONFLUENT, "dynamodb.table.discovery.mode": "REGEX"},
            "connector.json:10: dynamodb.table.discovery.mode: must be INCLUDELIST or TAG, not `REGEX`",
        ),
        (
            {**TRUSTPILOT, "kafka.topic.prefix": "a b-"},
            "connector.json:13: kafka.topic.prefix: `a b-{table}` cannot name a topic",
        ),
        (
            {**TRUSTPILOT, "connect.dynamodb.rediscovery.period": "5"},
            "connector.json:16: connect.dynamodb.rediscovery.period: must be a whole number from 1000 to 3600000",
        ),
        (
            {**TRUSTPILOT, "kafka.topic.map": "orders=x"},
            'connector.json:17: kafka.topic.map: is not a JSON object of topics by table; write e.g. {"orders": '
            '"shop-orders"}',
        ),
        (
            {**TRUSTPILOT, "transforms": "t", "transforms.t.type": "com.acme.Own"},
            "connector.json:18: transforms.t.type: com.acme.Own is not known; remove it, or do it with tailrace's own "
            "`transform`",
        ),
        ({"name": "x", "config": {"tasks.max": "1"}}, "connector.json: connector.class: is missing"),
        (
            {"name": "x", "config": {"connector.class": "io.debezium.connector.mysql.MySqlConnector"}},
            "connector.json:4: connector.class: `io.debezium.connector.mysql.MySqlConnector` is not known",
        ),
        ({"name": "x", "config": {}, "more": 1}, "connector.json: more: is not a key beside `config`"),
        ({**TRUSTPILOT, "aws.region": ["eu-west-1"]}, "connector.json:3: aws.region: must be text, not a list"),
        (KINESIS.replace("kinesis.stream=my_kinesis\n", ""), "connector.properties: kinesis.stream: is missing"),
        (
            KINESIS + "kinesis.shard.id=shardId-0\n",
            "connector.properties:12: kinesis.shard.id: picks some of the shards",
        ),
        (
            KINESIS + "kinesis.credentials.provider.class=com.acme.Own\n",
            "connector.properties:12: kinesis.credentials.provider.class: is com.acme.Own, which only Java can load",
        ),
        (
            KINESIS + "kinesis.proxy.url=http://p:1\n",
            "connector.properties:12: kinesis.proxy.url: is not read from the file",
        ),
        (KINESIS.replace("ByteArrayConverter", "Own"), "connector.properties:11: value.converter: "),
    ],
)
def test_a_mistake_gives_one_sentence_with_its_line(config: object, expected: str, tmp_path: Path) -> None:
    (found,) = sentences(tmp_path, config)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("clients", "expected"),
    [
        ("security.protocol=PLAINTEXT\n", "connector.json: --kafka: is missing; give the brokers and the login"),
        (
            "bootstrap.servers=broker:9092\nssl.truststore.location=/ca.jks\n",
            "connector.json: client.properties: ssl.truststore.location: is a JKS truststore",
        ),
        (
            "bootstrap.servers=broker:9092\nlinger.sm=5\n",
            "connector.json: client.properties: linger.sm: is not a property",
        ),
    ],
)
def test_a_mistake_in_the_properties_of_clients(clients: str, expected: str, tmp_path: Path) -> None:
    (found,) = sentences(tmp_path, TRUSTPILOT, clients)
    assert found.startswith(expected)


def test_files_that_are_none(tmp_path: Path) -> None:
    for text, expected in (
        ("{", "is not JSON"),
        ('{"a": 1,\n "a": 2}', "2: a: is given twice"),
        ("[]", "is not a JSON object"),
        ('{"name": 1, "config": {}}', "name: must be text"),
    ):
        (tmp_path / "connector.json").write_text(text)
        with pytest.raises(FileErrors, match=expected):
            load(tmp_path / "connector.json")
    with pytest.raises(FileErrors, match="cannot be read"):
        load(tmp_path / "none.json")


def test_a_pipeline_file_takes_no_other_properties(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("name: shop\n")
    with pytest.raises(FileErrors, match="--kafka: is for a connector's configuration"):
        load(tmp_path / "pipeline.yaml", kafka=tmp_path / "client.properties")
