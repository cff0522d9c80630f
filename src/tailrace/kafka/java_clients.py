"""What properties of Kafka's Java clients are called in librdkafka, and which of them mean nothing to it.

Sources: https://kafka.apache.org/41/documentation/#producerconfigs (Java) and librdkafka's CONFIGURATION.md, 2.16.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from tailrace.connect.options import ABOUT_RECORDS
from tailrace.kafka import msk_iam, properties


class Refused(NamedTuple):
    """A property that has no counterpart and must not be passed over: what is wrong with it, and what to do."""

    message: str
    hint: str


class Translated(msgspec.Struct):
    """librdkafka's properties, and what became of those that have no counterpart. All by their Java names."""

    properties: dict[str, str] = {}
    origins: dict[str, str] = {}
    """The Java name that each property of librdkafka came from."""
    notes: dict[str, str] = {}
    """Those that mean nothing here, and why."""
    refused: dict[str, Refused] = {}

    def put(self, name: str, value: str, *, origin: str) -> None:
        """Set a property of librdkafka's."""
        self.properties[name] = value
        self.origins[name] = origin


_RENAMED: Final[Mapping[str, str]] = {
    "buffer.memory": "queue.buffering.max.kbytes",
    "max.request.size": "message.max.bytes",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    "ssl.keystore.key": "ssl.key.pem",
    "ssl.truststore.certificates": "ssl.ca.pem",
}
"""The same under another name; sizes in bytes become kilobytes where the name says so."""

_OF_JAVA: Final = "it is about the JVM"
_NO_LIMIT: Final = "librdkafka has no such limit"
_SAME: Final = "librdkafka chooses it by itself"
_METRICS: Final = "Tailrace has metrics of its own: run it with --metrics-port"
_WORKER: Final = "it is about a Kafka Connect worker, of which there is none here"
_OFFSETS: Final = "positions are kept in the pipeline's checkpoint topic"
_REST: Final = "it is about a Connect worker's REST API"
_EXACTLY_ONCE: Final = "Tailrace is always exactly once"

_MEANINGLESS: Final[Mapping[str, str]] = {
    "auto.include.jmx.reporter": _OF_JAVA,
    "config.providers": "write ${env:NAME} and ${file:NAME} in place of its references",
    "config.storage.replication.factor": _OFFSETS,
    "config.storage.topic": _OFFSETS,
    "connector.client.config.override.policy": _WORKER,
    "exactly.once.source.support": _EXACTLY_ONCE,
    "group.protocol": "the workers' group is named after the pipeline and hands out its lanes",
    "interceptor.classes": _OF_JAVA,
    "key.deserializer": _OF_JAVA,
    "key.serializer": _OF_JAVA,
    "listeners": _REST,
    "max.block.ms": _NO_LIMIT,
    "metric.reporters": _METRICS,
    "metrics.num.samples": _METRICS,
    "metrics.recording.level": _METRICS,
    "metrics.sample.window.ms": _METRICS,
    "offset.flush.interval.ms": _OFFSETS,
    "offset.flush.timeout.ms": _OFFSETS,
    "offset.storage.file.filename": _OFFSETS,
    "offset.storage.partitions": _OFFSETS,
    "offset.storage.replication.factor": _OFFSETS,
    "offset.storage.topic": _OFFSETS,
    "partitioner.adaptive.partitioning.enable": "records are partitioned by their keys",
    "partitioner.class": "records are partitioned by their keys, as Java's default does",
    "partitioner.ignore.keys": "records are partitioned by their keys",
    "plugin.discovery": _WORKER,
    "plugin.path": _WORKER,
    "rebalance.timeout.ms": _WORKER,
    "rest.advertised.host.name": _REST,
    "rest.advertised.listener": _REST,
    "rest.advertised.port": _REST,
    "rest.extension.classes": _REST,
    "scheduled.rebalance.max.delay.ms": _WORKER,
    "security.providers": _OF_JAVA,
    "ssl.enabled.protocols": _SAME,
    "ssl.engine.factory.class": _OF_JAVA,
    "ssl.keymanager.algorithm": _OF_JAVA,
    "ssl.protocol": _SAME,
    "ssl.provider": _OF_JAVA,
    "ssl.secure.random.implementation": _OF_JAVA,
    "ssl.trustmanager.algorithm": _OF_JAVA,
    "status.storage.partitions": _OFFSETS,
    "status.storage.replication.factor": _OFFSETS,
    "status.storage.topic": _OFFSETS,
    "task.shutdown.graceful.timeout.ms": _WORKER,
    "value.deserializer": _OF_JAVA,
    "value.serializer": _OF_JAVA,
}

_LOGIN_TIMES: Final = re.compile(
    r"sasl\.(login\.(connect|read)\.timeout\.ms|login\.retry\.backoff(\.max)?\.ms|login\.refresh\.\w+(\.\w+)*|"
    r"login\.class|oauthbearer\.(clock\.skew\.seconds|expected\.(audience|issuer)|jwks\.\S+|header\.urlencode|"
    r"scope\.claim\.name|sub\.claim\.name)|kerberos\.(ticket\.renew\.\w+|min\.time\.before\.relogin))"
)

_JAAS: Final = re.compile(r"\s*([\w.$]+)\s+(?:required|requisite|sufficient|optional)\s*(.*?)\s*;\s*", re.DOTALL)
_OPTION: Final = re.compile(r"""([\w.]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s;]+))""")
_PREFIXES: Final = ("producer.", "consumer.", "admin.")
"""Those of a Connect worker's clients: our clients share one set of properties."""


def translate(java: Mapping[str, str]) -> Translated:
    """Return librdkafka's properties for those of a Java client, or of a Connect worker, by their names there.

    What librdkafka calls as Java does is taken as it is, and so is what only librdkafka knows: a file may be written
    for either. Converters and transforms, which a worker's file may hold, are left out.
    """
    done = Translated()
    flat = _without_prefixes(java, done)
    for name, value in flat.items():
        if ABOUT_RECORDS.fullmatch(name):
            continue
        if special := _SPECIAL.get(name):
            special(flat, done)
        elif name in _RENAMED:
            renamed = _RENAMED[name]
            kilobytes = name == "buffer.memory" and value.isdecimal()
            done.put(renamed, str(max(1, int(value) // 1024)) if kilobytes else value, origin=name)
        elif name in _MEANINGLESS or _LOGIN_TIMES.fullmatch(name):
            done.notes[name] = _MEANINGLESS.get(name, "librdkafka renews logins by itself")
        elif name in properties.OWNED:
            done.notes[name] = properties.OWNED[name]
        else:
            done.put(name, value, origin=name)  # what nobody knows is refused where the pipeline's are checked
    return done


def _without_prefixes(java: Mapping[str, str], done: Translated) -> dict[str, str]:
    """Return the properties of clients, a producer's first: it is what a source connector writes with."""
    flat = {name: value for name, value in java.items() if not name.startswith(_PREFIXES)}
    for prefix in _PREFIXES:
        for name in java:
            bare = name.removeprefix(prefix)
            if bare == name:
                continue
            if prefix == "producer." or bare not in flat:
                flat[bare] = java[name]
            elif flat[bare] != java[name]:
                done.notes[name] = f"all clients share one set of properties here, in which `{bare}` is another"
    return flat


def _jaas(java: Mapping[str, str], done: Translated) -> None:
    name = "sasl.jaas.config"
    match = _JAAS.fullmatch(java[name])
    if match is None:
        done.refused[name] = Refused(
            "is not one login module",
            "write e.g. `org.apache.kafka.common.security.plain.PlainLoginModule required username=… password=…;`",
        )
        return
    module = match[1].rpartition(".")[2]
    options = {key: _text(double, single, bare) for key, double, single, bare in _OPTION.findall(match[2])}
    known = _MODULES.get(module)
    if known is None:
        done.refused[name] = Refused(
            f"has the login module {module}, which is not known",
            f"use {', '.join(sorted(_MODULES))}, or the login properties of librdkafka",
        )
        return
    for option, value in options.items():
        if option in known:
            done.put(known[option], value, origin=name)
        elif option not in _HARMLESS:
            done.refused[name] = Refused(
                f"has the option {option} of {module}, which has no counterpart", "leave it out"
            )
    if module == "IAMLoginModule":
        done.put("sasl.mechanism", msk_iam.MECHANISM, origin=name)
    if module == "OAuthBearerLoginModule" and "clientId" in options:
        done.put("sasl.oauthbearer.method", "oidc", origin=name)


_MODULES: Final[Mapping[str, Mapping[str, str]]] = {
    "PlainLoginModule": {"username": "sasl.username", "password": "sasl.password"},
    "ScramLoginModule": {"username": "sasl.username", "password": "sasl.password"},
    "OAuthBearerLoginModule": {
        "clientId": "sasl.oauthbearer.client.id",
        "clientSecret": "sasl.oauthbearer.client.secret",
        "scope": "sasl.oauthbearer.scope",
        "extension_logicalCluster": "sasl.oauthbearer.extensions",
        "extension_identityPoolId": "sasl.oauthbearer.extensions",
    },
    "Krb5LoginModule": {"keyTab": "sasl.kerberos.keytab", "principal": "sasl.kerberos.principal"},
    "IAMLoginModule": {
        "awsProfileName": msk_iam.PROFILE,
        "awsRoleArn": msk_iam.ROLE_ARN,
        "awsRoleExternalId": msk_iam.EXTERNAL_ID,
    },
}
"""The options of each login module, and what librdkafka calls them."""

_HARMLESS: Final = frozenset(
    [
        "awsDebugCreds",
        "awsMaxBackOffTimeMs",
        "awsMaxRetries",
        "awsStsRegion",
        "debug",
        "doNotPrompt",
        "serviceName",
        "storeKey",
        "tokenauth",
        "useKeyTab",
        "useTicketCache",
    ]
)


def _text(double: str, single: str, bare: str) -> str:
    return bare or re.sub(r"\\(.)", r"\1", double or single)


def _callback_handler(java: Mapping[str, str], done: Translated) -> None:
    """Only AWS's and Kafka's own handlers log in in a way that librdkafka has, too."""
    for name in ("sasl.client.callback.handler.class", "sasl.login.callback.handler.class"):
        handler = java.get(name)
        if handler is None:
            continue
        kind = handler.rpartition(".")[2]
        if kind in {"IAMClientCallbackHandler", "IAMOAuthBearerLoginCallbackHandler"}:
            done.put("sasl.mechanism", msk_iam.MECHANISM, origin=name)
        elif kind in {"OAuthBearerLoginCallbackHandler", "OAuthBearerSaslClientCallbackHandler"}:
            done.put("sasl.oauthbearer.method", "oidc", origin=name)
        else:
            done.refused[name] = Refused(
                f"is {handler}, which only Java can load", "use the login properties of librdkafka instead"
            )


def _truststore(java: Mapping[str, str], done: Translated) -> None:
    name = "ssl.truststore.location"
    kind, location = java.get("ssl.truststore.type", "JKS").upper(), java.get(name, "")
    if kind == "PEM" and location:
        done.put("ssl.ca.location", location, origin=name)
    elif location:
        done.refused[name] = Refused(
            f"is a {kind} truststore, which librdkafka cannot read",
            f"export it: keytool -exportcert -rfc -keystore {location} -alias ALIAS -file ca.pem; "
            "then set ssl.truststore.type=PEM and this to ca.pem",
        )
    for other in ("ssl.truststore.type", "ssl.truststore.password"):
        if other in java:
            done.notes[other] = "certificates are read from a PEM file"


def _keystore(java: Mapping[str, str], done: Translated) -> None:
    name = "ssl.keystore.location"
    kind, location = java.get("ssl.keystore.type", "JKS").upper(), java.get(name, "")
    if "ssl.keystore.type" in java:
        done.notes["ssl.keystore.type"] = "librdkafka reads PEM and PKCS#12 files"
    if not location:
        return
    if kind == "PEM":
        done.put("ssl.certificate.location", location, origin=name)
        done.put("ssl.key.location", location, origin=name)
    elif kind == "PKCS12":
        done.put(name, location, origin=name)
        if "ssl.keystore.password" in java:
            done.put("ssl.keystore.password", java["ssl.keystore.password"], origin="ssl.keystore.password")
    else:
        done.refused[name] = Refused(
            f"is a {kind} keystore, which librdkafka cannot read",
            f"convert it: keytool -importkeystore -srckeystore {location} -destkeystore client.p12 -deststoretype "
            "PKCS12; then set ssl.keystore.type=PKCS12 and this to client.p12",
        )


def _hostname_check(java: Mapping[str, str], done: Translated) -> None:
    name = "ssl.endpoint.identification.algorithm"
    done.put(name, java[name].lower() or "none", origin=name)


def _keystore_password(java: Mapping[str, str], done: Translated) -> None:
    if "ssl.keystore.location" not in java:
        done.notes["ssl.keystore.password"] = "there is no keystore"


_SPECIAL: Final[Mapping[str, Callable[[Mapping[str, str], Translated], None]]] = {
    "sasl.jaas.config": _jaas,
    "sasl.client.callback.handler.class": _callback_handler,
    "sasl.login.callback.handler.class": _callback_handler,
    "ssl.endpoint.identification.algorithm": _hostname_check,
    "ssl.keystore.location": _keystore,
    "ssl.keystore.password": _keystore_password,
    "ssl.keystore.type": _keystore,
    "ssl.truststore.location": _truststore,
    "ssl.truststore.password": _truststore,
    "ssl.truststore.type": _truststore,
}
