"""Which property librdkafka takes for which client, which the protocol owns, and what librdkafka says of a value.

Source of the names and scopes: librdkafka's CONFIGURATION.md, 2.16. Callbacks and pointers are left out: no file can
hold them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer

from tailrace.kafka import login

COMMON: frozenset[str] = frozenset(
    [
        "allow.auto.create.topics",
        "api.version.fallback.ms",
        "api.version.request",
        "api.version.request.timeout.ms",
        "bootstrap.servers",
        "broker.address.family",
        "broker.address.ttl",
        "broker.version.fallback",
        "client.dns.lookup",
        "client.id",
        "client.rack",
        "connections.max.idle.ms",
        "debug",
        "enable.metrics.push",
        "enable.random.seed",
        "enable.sasl.oauthbearer.unsecure.jwt",
        "enable.ssl.certificate.verification",
        "https.ca.location",
        "https.ca.pem",
        "log.connection.close",
        "log.thread.name",
        "log_level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.copy.max.bytes",
        "message.max.bytes",
        "metadata.broker.list",
        "metadata.max.age.ms",
        "metadata.recovery.rebootstrap.trigger.ms",
        "metadata.recovery.strategy",
        "plugin.library.paths",
        "receive.message.max.bytes",
        "reconnect.backoff.jitter.ms",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "retry.backoff.max.ms",
        "retry.backoff.ms",
        "sasl.kerberos.keytab",
        "sasl.kerberos.kinit.cmd",
        "sasl.kerberos.min.time.before.relogin",
        "sasl.kerberos.principal",
        "sasl.kerberos.service.name",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.oauthbearer.assertion.algorithm",
        "sasl.oauthbearer.assertion.claim.aud",
        "sasl.oauthbearer.assertion.claim.exp.seconds",
        "sasl.oauthbearer.assertion.claim.iss",
        "sasl.oauthbearer.assertion.claim.jti.include",
        "sasl.oauthbearer.assertion.claim.nbf.seconds",
        "sasl.oauthbearer.assertion.claim.sub",
        "sasl.oauthbearer.assertion.file",
        "sasl.oauthbearer.assertion.jwt.template.file",
        "sasl.oauthbearer.assertion.private.key.file",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.extensions",
        "sasl.oauthbearer.grant.type",
        "sasl.oauthbearer.metadata.authentication.type",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.sub.claim.name",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.password",
        "sasl.username",
        "security.protocol",
        "socket.blocking.max.ms",
        "socket.connection.setup.timeout.ms",
        "socket.keepalive.enable",
        "socket.max.fails",
        "socket.nagle.disable",
        "socket.receive.buffer.bytes",
        "socket.send.buffer.bytes",
        "socket.timeout.ms",
        "ssl.ca.certificate.stores",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.cipher.suites",
        "ssl.crl.location",
        "ssl.curves.list",
        "ssl.endpoint.identification.algorithm",
        "ssl.engine.id",
        "ssl.engine.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.providers",
        "ssl.sigalgs.list",
        "statistics.interval.ms",
        "topic.blacklist",
        "topic.metadata.propagation.max.ms",
        "topic.metadata.refresh.fast.cnt",
        "topic.metadata.refresh.fast.interval.ms",
        "topic.metadata.refresh.interval.ms",
        "topic.metadata.refresh.sparse",
    ]
)
"""Properties of every client: producer, consumer and admin."""

PRODUCER = frozenset(
    [
        "acks",
        "batch.num.messages",
        "batch.size",
        "compression.codec",
        "compression.level",
        "compression.type",
        "delivery.report.only.error",
        "delivery.timeout.ms",
        "enable.gapless.guarantee",
        "enable.idempotence",
        "linger.ms",
        "message.send.max.retries",
        "message.timeout.ms",
        "partitioner",
        "produce.offset.report",
        "queue.buffering.backpressure.threshold",
        "queue.buffering.max.kbytes",
        "queue.buffering.max.messages",
        "queue.buffering.max.ms",
        "queuing.strategy",
        "request.required.acks",
        "request.timeout.ms",
        "retries",
        "sticky.partitioning.linger.ms",
        "transaction.timeout.ms",
        "transactional.id",
    ]
)
"""Properties of producers only."""

CONSUMER = frozenset(
    [
        "auto.commit.enable",
        "auto.commit.interval.ms",
        "auto.offset.reset",
        "check.crcs",
        "consume.callback.max.messages",
        "coordinator.query.interval.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "fetch.error.backoff.ms",
        "fetch.max.bytes",
        "fetch.message.max.bytes",
        "fetch.min.bytes",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.protocol.type",
        "group.remote.assignor",
        "heartbeat.interval.ms",
        "isolation.level",
        "max.partition.fetch.bytes",
        "max.poll.interval.ms",
        "max.poll.records",
        "offset.store.method",
        "offset.store.path",
        "offset.store.sync.interval.ms",
        "partition.assignment.strategy",
        "queued.max.messages.kbytes",
        "queued.min.messages",
        "session.timeout.ms",
        "share.acknowledgement.mode",
    ]
)
"""Properties of consumers only."""

ALIASES: Mapping[str, str] = {
    "bootstrap.servers": "metadata.broker.list",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "sasl.mechanism": "sasl.mechanisms",
    "sasl.oauthbearer.client.credentials.client.id": "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.credentials.client.secret": "sasl.oauthbearer.client.secret",
    "max.partition.fetch.bytes": "fetch.message.max.bytes",
    "linger.ms": "queue.buffering.max.ms",
    "retries": "message.send.max.retries",
    "compression.type": "compression.codec",
    "acks": "request.required.acks",
    "delivery.timeout.ms": "message.timeout.ms",
    "enable.auto.commit": "auto.commit.enable",
}
"""Each alias and the name that librdkafka's messages use for it."""

_PER_LANE = "each lane has a transactional producer of its own, named after the lane"
_EXACTLY_ONCE = "exactly once needs every in-sync replica's answer and an idempotent producer"
_POSITIONS = "positions are committed in the transactions of the lanes, never by a consumer group"
_GROUP = "the workers' group is named after the pipeline and hands out its lanes"
_COMMITTED = "Tailrace reads what is committed, and nothing else"
_JAVA_PARTITIONS = "records are partitioned as Java clients do, so that joins by key work"
_ORDER = "item order needs records to leave in the order in which they were read"
_TOPICS = "Tailrace makes the topics itself; see the key `topics`"
_REPORTS = "Tailrace reads every delivery report"
_SHARE = "Tailrace uses no share groups"

OWNED: Mapping[str, str] = {
    "acks": _EXACTLY_ONCE,
    "allow.auto.create.topics": _TOPICS,
    "auto.commit.enable": _POSITIONS,
    "auto.commit.interval.ms": _POSITIONS,
    "auto.offset.reset": _POSITIONS,
    "consume.callback.max.messages": _COMMITTED,
    "delivery.report.only.error": _REPORTS,
    "enable.auto.commit": _POSITIONS,
    "enable.auto.offset.store": _POSITIONS,
    "enable.gapless.guarantee": _EXACTLY_ONCE,
    "enable.idempotence": _EXACTLY_ONCE,
    "enable.partition.eof": _COMMITTED,
    "group.id": _GROUP,
    "group.instance.id": "every worker must have another one, and all workers share this file",
    "group.protocol": _GROUP,
    "group.protocol.type": _GROUP,
    "group.remote.assignor": _GROUP,
    "isolation.level": _COMMITTED,
    "max.poll.records": _SHARE,
    "metadata.broker.list": "it is another name of `bootstrap.servers`; give that one",
    "offset.store.method": _POSITIONS,
    "offset.store.path": _POSITIONS,
    "offset.store.sync.interval.ms": _POSITIONS,
    "partition.assignment.strategy": _GROUP,
    "partitioner": _JAVA_PARTITIONS,
    "produce.offset.report": _REPORTS,
    "queuing.strategy": _ORDER,
    "request.required.acks": _EXACTLY_ONCE,
    "share.acknowledgement.mode": _SHARE,
    "sticky.partitioning.linger.ms": _JAVA_PARTITIONS,
    "transactional.id": _PER_LANE,
}
"""Properties that the protocol owns, and why nobody else may set them."""

JAVA_ONLY: Mapping[str, str] = {
    "buffer.memory": "write `queue.buffering.max.kbytes`",
    "max.block.ms": "librdkafka has no such limit; leave it out",
    "max.request.size": "write `message.max.bytes`",
    "sasl.client.callback.handler.class": "write `sasl.mechanism: AWS_MSK_IAM`",
    "sasl.jaas.config": "write `sasl.username` and `sasl.password`",
    "sasl.login.callback.handler.class": "write `sasl.oauthbearer.method: oidc`",
    "ssl.keystore.type": "librdkafka reads PKCS#12 keystores; leave it out",
    "ssl.truststore.location": "write `ssl.ca.location` with a PEM file",
    "ssl.truststore.password": "PEM files of certificates have no password; leave it out",
    "ssl.truststore.type": "write `ssl.ca.location` with a PEM file",
}
"""Properties of the Java clients that people paste, and what to write instead."""


PRODUCER_DEFAULTS: Final[Mapping[str, str]] = {
    # Bounds what a dead worker's open transaction holds back (KIP-98).
    "transaction.timeout.ms": "20000",
    # A commit that takes nearly as long may have been sent twice, and costs the lane a new producer.
    "retry.backoff.ms": "1000",
    "retry.backoff.max.ms": "1000",
    # Costs a twentieth of what producing does, and makes an envelope with two images several times smaller.
    "compression.type": "lz4",
    # The broker decides what is too large, not the client.
    "message.max.bytes": str(64 << 20),
}
"""What the lane's producer takes where the file says nothing, and librdkafka's default would not do."""


def for_producer(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties that a producer knows."""
    return _only(properties, COMMON | PRODUCER)


def for_consumer(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties that a consumer knows."""
    return _only(properties, COMMON | CONSUMER)


def for_admin(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties that an admin client knows: those that every client does."""
    return _only(properties, COMMON)


def unknown(names: Iterable[str]) -> list[str]:
    """Return the names that neither a client nor `login` knows, in their order."""
    return [name for name in names if name not in COMMON | PRODUCER | CONSUMER | login.OURS]


class Fault(NamedTuple):
    """What librdkafka has against a set of properties; `name` is None when it blames none of them."""

    name: str | None
    reason: str


def faults(properties: Mapping[str, str]) -> list[Fault]:
    """Have librdkafka check the values, without a connection: one fault for each property that it refuses.

    The reasons are librdkafka's words and may hold a value: redact them.
    """
    found: list[Fault] = []
    left = {name: value for name, value in properties.items() if name != "bootstrap.servers"}
    while fault := _first_fault(left):
        found.append(fault)
        if fault.name is None or "configuration property" not in fault.reason.lower():
            break  # it is about several properties: without one of them, librdkafka would complain of the others
        del left[fault.name]
    return found


def _only(properties: Mapping[str, str], known: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in properties.items() if name in known}


def _first_fault(properties: Mapping[str, str]) -> Fault | None:
    """Make a producer and a consumer without brokers, as the worker makes them, and tell what they refuse."""
    given = {**login.as_librdkafka(properties), **_no_token_request(properties)}
    try:
        transactional = {"transactional.id": "check", "enable.idempotence": "true", "logger": _silent_logger()}
        Producer({**PRODUCER_DEFAULTS, **for_producer(given), **transactional})
        Consumer({**for_consumer(given), "group.id": "check", "logger": _silent_logger()}).close()
    except KafkaException as error:
        return _fault(error.args[0].str(), properties)
    if login.uses_sasl(properties) and _waits_for_ever(properties):
        return Fault(
            "sasl.oauthbearer.method" if "sasl.oauthbearer.method" in properties else None,
            "OAUTHBEARER needs `sasl.oauthbearer.method: oidc` or `sasl.oauthbearer.token.command` to get a token",
        )
    return None


def _no_token_request(properties: Mapping[str, str]) -> dict[str, str]:
    """Keep a client from asking the OIDC endpoint for a token as soon as it is made: it finds nobody instead."""
    return {url: "http://127.0.0.1:1/" for url in ("sasl.oauthbearer.token.endpoint.url",) if url in properties}


def _waits_for_ever(properties: Mapping[str, str]) -> bool:
    return (
        login.mechanism(properties) == "OAUTHBEARER"
        and not login.fetches_tokens(properties)
        and properties.get("sasl.oauthbearer.method", "").lower() != "oidc"
        and properties.get("enable.sasl.oauthbearer.unsecure.jwt", "").lower() != "true"
    )


def _silent_logger() -> logging.Logger:
    """Return a logger outside the tree of loggers, so that nothing listens."""
    logger = logging.Logger("tailrace.kafka.properties")
    logger.addHandler(logging.NullHandler())
    return logger


def _fault(message: str, properties: Mapping[str, str]) -> Fault:
    reason = re.sub(r"^Failed to create (producer|consumer): ", "", message.strip())
    reason = re.sub(r": recompile librdkafka.*?Current build options: ", "; it has ", reason)
    for name, canonical in ALIASES.items():
        if name in properties:
            reason = re.sub(rf"(?<![\w.]){re.escape(canonical)}(?![\w.]*\w)", name, reason)
    words = re.findall(r"[a-z_]+(?:\.[a-z_]+)*", reason)
    if "SASL mechanism" in reason:
        words = ["sasl.mechanism", "sasl.mechanisms"]
    return Fault(next((word for word in words if word in properties), None), reason)
