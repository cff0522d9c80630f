"""Apache Kafka in KRaft mode: one broker, or a cluster of several, each broker and controller in one process."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tailrace.errors import WorldError
from tailrace.local.artifacts import classpath, java, pinned
from tailrace.local.service import QUICK_START, JavaService, free_ports

SUPER_USER = "admin"

_QUIET = {"log_level": 0}  # a client that waits for a broker would print each refused connection
_READY_ID = "tailrace.local-ready"


class KafkaBroker(JavaService):
    """One broker on free ports of the loopback address, its topics kept over `restart` and `kill`.

    Args:
        port: of the listener for clients; a free one by default.
        properties: broker properties that are set last.
        users: passwords by user name. With them clients must log in (SASL/PLAIN) and everyone but `admin`, who must
            be among them, may do only what ACLs allow.
        proxy_port: of a proxy that tests put between client and broker. The broker then listens on
            `behind_proxy_port` too, and clients that come in there are told to reconnect through the proxy.
        node_id, voters, cluster_id: its place in a cluster; see `KafkaCluster`.
    """

    name = "kafka"

    def __init__(
        self,
        *,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        proxy_port: int | None = None,
        folder: Path | None = None,
        node_id: int = 1,
        voters: Mapping[int, int] | None = None,
        cluster_id: str | None = None,
    ) -> None:
        free_port, controller_port, self.behind_proxy_port = free_ports(3)
        self.port = port or free_port
        self.proxy_port = proxy_port
        self._users = dict(users or {})
        self._voters = dict(voters or {node_id: controller_port})
        self._node_id = node_id
        self._cluster_id = cluster_id or new_cluster_id()
        self._properties = dict(properties or {})
        super().__init__(folder)
        self._config_path = self.folder / "server.properties"

    @property
    def bootstrap_servers(self) -> str:
        """Where clients begin, past any proxy."""
        return f"127.0.0.1:{self.port}"

    @property
    def proxied_bootstrap_servers(self) -> str:
        """Where clients begin that shall stay behind the proxy."""
        return f"127.0.0.1:{self.proxy_port}"

    def client_properties(self, user: str = SUPER_USER) -> dict[str, str]:
        """librdkafka's properties to reach this broker, as `user` if it has users."""
        properties = {"bootstrap.servers": self.bootstrap_servers}
        if self._users:
            properties |= {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": user,
                "sasl.password": self._users[user],
            }
        return properties

    def spawn(self) -> None:
        """Start without waiting; the first time, format its storage."""
        if not self._config_path.exists():
            self._config_path.write_text("".join(f"{key}={value}\n" for key, value in self._server_config().items()))
            self._format()
        super().spawn()

    def _arguments(self) -> list[str]:
        return ["-Xmx512m", *self._java_options(), "kafka.Kafka", str(self._config_path)]

    def _java_options(self) -> list[str]:
        return ["-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-cp", classpath(*pinned("kafka"))]

    def _format(self) -> None:
        tool = ["kafka.tools.StorageTool", "format", "-t", self._cluster_id, "-c", str(self._config_path)]
        result = subprocess.run(
            [str(java()), *QUICK_START, *self._java_options(), *tool],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            check=False,
        )
        if result.returncode:
            self._config_path.unlink()
            raise WorldError(f"Kafka cannot format its storage in {self.folder}: {result.stdout.strip()}")

    def _server_config(self) -> dict[str, str]:
        replicas = len(self._voters)
        protocol = "SASL_PLAINTEXT" if self._users else "PLAINTEXT"
        listeners = {"CLIENT": self.port, "CONTROLLER": self._voters[self._node_id]}
        advertised = {"CLIENT": self.port}
        protocols = {"CLIENT": protocol, "CONTROLLER": "PLAINTEXT"}
        if self.proxy_port:
            listeners["PROXY"] = self.behind_proxy_port
            advertised["PROXY"] = self.proxy_port
            protocols["PROXY"] = protocol
        config = {
            "process.roles": "broker,controller",
            "node.id": str(self._node_id),
            "controller.quorum.voters": ",".join(f"{node}@127.0.0.1:{port}" for node, port in self._voters.items()),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENT",
            "listeners": _addresses(listeners),
            "advertised.listeners": _addresses(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            # A broker that was killed cannot register again before its session has ended: 9 s by default.
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "4000",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "default.replication.factor": str(replicas),
            "min.insync.replicas": str(min(replicas, 2)),
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": str(replicas),
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": str(min(replicas, 2)),
            "share.coordinator.state.topic.replication.factor": str(replicas),
            "share.coordinator.state.topic.min.isr": str(min(replicas, 2)),
            "group.initial.rebalance.delay.ms": "0",
        }
        return config | self._login_config() | self._properties

    def _login_config(self) -> dict[str, str]:
        if not self._users:
            return {}
        module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        accounts = " ".join(f'user_{name}="{password}"' for name, password in self._users.items())
        broker = f'username="{SUPER_USER}" password="{self._users[SUPER_USER]}"'
        jaas = f"{module} {broker} {accounts};"
        listeners = ["client", "proxy"] if self.proxy_port else ["client"]
        return {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{SUPER_USER};User:ANONYMOUS",  # ANONYMOUS: brokers, on the controllers' listener
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.enabled.mechanisms": "PLAIN",
            **{f"listener.name.{name}.plain.sasl.jaas.config": jaas for name in listeners},
        }

    def _is_ready(self, timeout_s: float) -> bool:
        """Wait for the coordinators, which answer well after the port is open and metadata is served.

        The group's is asked for offsets: `describe_consumer_groups` may abort the process while a broker starts
        (https://github.com/confluentinc/librdkafka/issues/4605).
        """
        client: dict[str, Any] = {**self.client_properties(), **_QUIET}
        impatient = {**client, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100}
        consumer = Consumer({**impatient, "group.id": _READY_ID})
        try:
            consumer.list_topics(timeout=timeout_s)
            consumer.committed([TopicPartition(_READY_ID, 0)], timeout=timeout_s)
            Producer({**client, "transactional.id": f"{_READY_ID}-{self._node_id}"}).init_transactions(timeout_s)
        except KafkaException:
            return False
        finally:
            consumer.close()
        return True


class KafkaCluster:
    """Several brokers that replicate everything; a context manager that starts and closes them.

    `proxied`: each has a `proxy_port`, on which a proxy of a test is to listen.
    """

    def __init__(self, brokers: int = 3, *, properties: Mapping[str, str] | None = None, proxied: bool = False) -> None:
        ports = free_ports(2 * brokers)
        voters = dict(enumerate(ports[:brokers], start=1))
        cluster_id = new_cluster_id()
        self.brokers: Sequence[KafkaBroker] = [
            KafkaBroker(
                node_id=node,
                voters=voters,
                cluster_id=cluster_id,
                properties=properties,
                proxy_port=proxy_port if proxied else None,
            )
            for node, proxy_port in zip(voters, ports[brokers:], strict=True)
        ]

    @property
    def bootstrap_servers(self) -> str:
        """Where clients begin: any of the brokers."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for broker in self.brokers:
                started.callback(broker.close)
                broker.spawn()
            for broker in self.brokers:
                broker.wait_until_ready()
            self._started = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started.close()


def new_cluster_id() -> str:
    """Return a random id as Kafka wants it: a UUID in URL-safe base64 without padding.

    It must not begin with `-`, which the storage tool would take for an option; Kafka's own ids do not either.
    """
    while (cluster_id := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return cluster_id


def _addresses(listeners: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())
