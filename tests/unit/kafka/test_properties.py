"""What librdkafka takes for which client: the lists are checked against the librdkafka that is installed."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from tailrace.kafka import properties
from tailrace.kafka.properties import ALIASES, COMMON, CONSUMER, OWNED, PRODUCER, Fault, faults

ALLOWED_VALUES = {
    "acks": "all",
    "auto.offset.reset": "earliest",
    "auto.commit.enable": "false",
    "compression.codec": "zstd",
    "compression.level": "1",
    "compression.type": "zstd",
    "enable.gapless.guarantee": "false",
    "group.protocol": "classic",
    "isolation.level": "read_committed",
    "offset.store.method": "broker",
    "offset.store.sync.interval.ms": "-1",
    "partition.assignment.strategy": "cooperative-sticky",
    "produce.offset.report": "true",
    "queuing.strategy": "fifo",
    "debug": "conf",
    "group.id": "g",
    "group.protocol.type": "consumer",
    "log_level": "6",
    "partitioner": "murmur2_random",
    "message.max.bytes": "1000000",
    "fetch.max.bytes": "52428800",
    "max.in.flight": "5",
    "max.in.flight.requests.per.connection": "5",
    "transactional.id": "t",
}
"""A value for each property whose kind its name does not tell."""


def value_of(name: str) -> Any:
    """Some value that a property of this name takes; which one does not matter for its name and scope."""
    if name in ALLOWED_VALUES:
        return ALLOWED_VALUES[name]
    if name == "delivery.report.only.error":
        return False
    for value in ("100000", "1", "true", "x"):
        if not complaints(Producer if name in PRODUCER else Consumer, {name: value}):
            return value
    return "x"


def complaints(kind: type[Any], settings: dict[str, Any]) -> list[str]:
    """What librdkafka says against the settings, as an error or a warning of its configuration."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger = logging.Logger("listener")
    logger.addHandler(Listener())
    needed = {"group.id": "g"} if kind is Consumer else {}
    try:
        client = kind({**needed, **settings}, logger=logger)
    except Exception as error:
        return [str(error)]
    client.poll(0)
    if kind is Consumer:
        client.close()
    return [text for text in said if "CONFWARN" in text and "property" in text]


def scope_complaints(kind: type[Any], name: str) -> list[str]:
    wrong = ("No such configuration property", "will be ignored by this")
    return [text for text in complaints(kind, {name: value_of(name)}) if any(word in text for word in wrong)]


@pytest.mark.parametrize("name", sorted(COMMON))
def test_every_client_knows_a_common_property(name: str) -> None:
    for kind in (Producer, Consumer, AdminClient):
        assert scope_complaints(kind, name) == []


@pytest.mark.parametrize("name", sorted(PRODUCER))
def test_only_producers_know_a_producer_property(name: str) -> None:
    assert scope_complaints(Producer, name) == []
    assert scope_complaints(Consumer, name)


@pytest.mark.parametrize("name", sorted(CONSUMER - {"share.acknowledgement.mode", "max.poll.records"}))
def test_only_consumers_know_a_consumer_property(name: str) -> None:
    assert scope_complaints(Consumer, name) == []
    assert scope_complaints(Producer, name)


def test_a_name_that_is_not_there_would_be_noticed() -> None:
    assert scope_complaints(Producer, "linger.msec")


def test_each_client_gets_what_it_knows() -> None:
    given = {"bootstrap.servers": "b:9092", "linger.ms": "5", "fetch.min.bytes": "1", "nonsense": "1"}
    assert properties.for_producer(given) == {"bootstrap.servers": "b:9092", "linger.ms": "5"}
    assert properties.for_consumer(given) == {"bootstrap.servers": "b:9092", "fetch.min.bytes": "1"}
    assert properties.for_admin(given) == {"bootstrap.servers": "b:9092"}
    assert properties.unknown(given) == ["nonsense"]


def test_what_the_protocol_owns_and_what_has_another_name_is_known() -> None:
    assert properties.unknown([*OWNED, *ALIASES, *ALIASES.values()]) == []


def test_right_values_have_no_fault() -> None:
    assert faults({"bootstrap.servers": "nowhere:1", "linger.ms": "5", "client.id": "x", "debug": "all"}) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"linger.ms": "fast"}, [Fault("linger.ms", 'Invalid value for configuration property "linger.ms"')]),
        (
            {"compression.type": "brotli", "batch.size": "-1"},
            [
                Fault("compression.type", 'Invalid value "brotli" for configuration property "compression.type"'),
                Fault(
                    "batch.size", 'Configuration property "batch.size" value -1 is outside allowed range 1..2147483647'
                ),
            ],
        ),
        (
            {"max.in.flight": "10"},
            [Fault("max.in.flight", "`max.in.flight` must be set <= 5 when `enable.idempotence` is true")],
        ),
        (
            {"max.poll.interval.ms": "5000"},
            [Fault("max.poll.interval.ms", "`max.poll.interval.ms`must be >= `session.timeout.ms`")],
        ),
        (
            {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN"},
            [Fault(None, "sasl.username and sasl.password must be set")],
        ),
        (
            {"security.protocol": "sasl_ssl", "sasl.mechanism": "NTLM", "sasl.username": "u", "sasl.password": "p"},
            [Fault("sasl.mechanism", "Unsupported SASL mechanism: NTLM")],
        ),
        (
            {"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"},
            [
                Fault(
                    None,
                    "OAUTHBEARER needs `sasl.oauthbearer.method: oidc` or `sasl.oauthbearer.token.command` "
                    "to get a token",
                )
            ],
        ),
    ],
)
def test_librdkafka_checks_the_values(given: dict[str, str], expected: list[Fault]) -> None:
    assert faults(given) == expected


def test_a_file_that_is_not_there_is_blamed_on_its_property() -> None:
    (fault,) = faults({"security.protocol": "ssl", "ssl.keystore.location": "/nowhere/keystore.p12"})
    assert fault.name == "ssl.keystore.location"


def test_the_check_makes_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    faults({"debug": "all", "linger.ms": "fast"})
    faults({"debug": "all", "security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"})
    assert capfd.readouterr() == ("", "")


def test_the_check_asks_no_token_endpoint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as endpoint:
        endpoint.setblocking(False)
        given = {
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": "id",
            "sasl.oauthbearer.client.secret": "planted",
            "sasl.oauthbearer.token.endpoint.url": f"http://127.0.0.1:{endpoint.getsockname()[1]}/token",
        }
        assert faults(given) == []
        with pytest.raises(BlockingIOError):
            endpoint.accept()
