"""What Kafka's Java clients, Flink's among them, need to reach the brokers that librdkafka's properties name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tailrace.errors import FileError

_MODULES: Final = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
_SAME: Final = ("security.protocol", "client.dns.lookup", "client.rack", "ssl.endpoint.identification.algorithm")
_LOGINS: Final = ("sasl.", "ssl.")
"""Properties that decide who may log in: none is passed over."""


def java_options(kafka: Mapping[str, str]) -> dict[str, str]:
    """Return the properties of a Java client; those of tuning are left out.

    Raises FileError for a login that Flink's connector cannot make.
    """
    found = {"bootstrap.servers": kafka.get("bootstrap.servers") or kafka["metadata.broker.list"]}
    found |= {name: kafka[name] for name in _SAME if name in kafka}
    known = {*_SAME, "ssl.ca.location", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"}
    if found.get("ssl.endpoint.identification.algorithm") == "none":
        found["ssl.endpoint.identification.algorithm"] = ""
    if authority := kafka.get("ssl.ca.location"):
        found |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": authority}
    if "SASL" in kafka.get("security.protocol", "").upper():
        mechanism = kafka.get("sasl.mechanism") or kafka.get("sasl.mechanisms") or "GSSAPI"
        if mechanism not in _MODULES:
            raise _refused("sasl.mechanism", f"{mechanism} is a login that a job of Flink is not given")
        user, password = (_quoted(kafka.get(f"sasl.{name}", "")) for name in ("username", "password"))
        found["sasl.mechanism"] = mechanism
        found["sasl.jaas.config"] = f"{_MODULES[mechanism]} required username={user} password={password};"
    for name in kafka:
        if name.startswith(_LOGINS) and name not in known:
            raise _refused(name, "a job of Flink is not given this property")
    return found


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _refused(name: str, message: str) -> FileError:
    return FileError(
        message,
        path=f"kafka.{name}",
        hint="log in with PLAIN or SCRAM, over TLS with ssl.ca.location, or leave out `engine: flink`",
    )
