"""The world of a run: three brokers behind proxies, the simulator of AWS, tables, topics, the pipeline file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from confluent_kafka import ElectionType, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka.cimpl import NewTopic

from chaos.schedule import SESSION_TIMEOUT_S, has_snapshots
from chaos.simulator import Simulator
from chaos.sources import TABLES, ChangeSource
from support.proxy import KafkaProxy
from tailrace.kafka import clients
from tailrace.kafka.membership import describe
from tailrace.local.dynamodb import REGION
from tailrace.local.kafka import KafkaCluster
from tailrace.local.workload import TableSpec, connect, create_table

NAME = "chaos"
BROKERS = 3
LANES = 8
PARTITIONS = 3
TRANSACTION_TIMEOUT_S = 10
SEGMENTS = 6
READ_CAPACITY = 200
"""Read capacity units a second: a snapshot takes several seconds, in which something goes wrong."""
_READY_S = 30.0
_ADMIN_S = 10.0


class World:
    """A context manager that starts everything but the workers, and ends it."""

    def __init__(self, folder: Path, source: ChangeSource, *, seed: int) -> None:
        self.folder = folder
        self.cluster = KafkaCluster(BROKERS, proxied=True)
        self.proxies: list[KafkaProxy] = []
        self.pipeline_file = folder / "pipeline.yaml"
        self.source = source
        self.simulator = Simulator(folder, seed=seed, script=source.script)
        self._has_snapshots = has_snapshots(seed)
        self._owned = ExitStack()

    @property
    def kafka(self) -> dict[str, str]:
        """How the checkers reach Kafka, past the proxies."""
        return {"bootstrap.servers": self.cluster.bootstrap_servers}

    @property
    def checkpoints_topic(self) -> str:
        return f"{NAME}.checkpoints"

    @property
    def dead_letters_topic(self) -> str:
        return f"{NAME}.dead-letters"

    @property
    def partitions(self) -> list[tuple[str, int]]:
        """Every partition that the workers write to."""
        counts = {self.checkpoints_topic: LANES, self.dead_letters_topic: 1}
        counts |= {f"{NAME}.{table}": PARTITIONS for table in TABLES}
        return [(topic, number) for topic, count in counts.items() for number in range(count)]

    def __enter__(self) -> Self:
        with ExitStack() as owned:
            owned.enter_context(self.simulator)
            owned.enter_context(self.cluster)
            for broker in self.cluster.brokers:
                assert broker.proxy_port
                self.proxies.append(owned.enter_context(KafkaProxy(broker.proxy_port, broker.behind_proxy_port)))
            self._make_tables()
            self._make_topics()
            self._write_pipeline_file()
            self._owned = owned.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for broker in self.cluster.brokers:
            broker.kill()  # quicker than a clean end, and nothing of it is kept
        self._owned.close()

    def full_replicas(self) -> bool:
        """Return whether every replica of every partition is in sync: then a broker may go."""
        topics = self._admin.list_topics(timeout=_ADMIN_S).topics.values()
        return all(len(part.isrs) == len(part.replicas) for topic in topics for part in topic.partitions.values())

    def elect_leaders(self) -> None:
        """Let each partition be led by its preferred replica, if that is in sync."""
        self._admin.elect_leaders(ElectionType.PREFERRED).result()

    def members(self) -> int:
        """Return how many workers the group has."""
        return len(describe(self.kafka, NAME).members)

    def ends(self, *, committed: bool) -> dict[tuple[str, int], int]:
        """Return the partitions' end offsets: of all records, or of what a `read_committed` reader may see."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the client left its types out
        asked = {TopicPartition(*partition): latest for partition in self.partitions}
        admin = clients.admin(self.kafka)  # one that has lived long knows leaders' epochs that are over
        futures = clients.offsets(admin, asked, level)
        return {(each.topic, each.partition): future.result() for each, future in futures.items()}

    def open_transactions(self) -> list[str]:
        """Name the partitions in which a transaction holds back readers."""
        every, committed = self.ends(committed=False), self.ends(committed=True)
        return [f"{topic}-{number}" for (topic, number), end in every.items() if committed[topic, number] < end]

    @cached_property
    def _admin(self) -> AdminClient:
        return self._new_admin()

    def _new_admin(self) -> AdminClient:
        return AdminClient({**self.kafka, "log_level": "0"})

    def _make_tables(self) -> None:
        self.simulator.wait_until_ready()
        client = connect(self.simulator.endpoint_url)
        for table in TABLES:
            create_table(client, TableSpec(table))
        client.close()
        self.source.set_up(self.simulator)

    def _make_topics(self) -> None:
        """Make all topics: the checkers follow them from the first record, and read the broker's time in one."""
        safe = {"min.insync.replicas": "2"}
        checkpoints = safe | {
            "cleanup.policy": "compact",
            "message.timestamp.type": "LogAppendTime",
            # Small segments, so that it is compacted, but not before the checkers have read it.
            "segment.bytes": str(1 << 20),
            "min.compaction.lag.ms": "60000",
        }
        topics = [NewTopic(f"{NAME}.{table}", PARTITIONS, BROKERS, config=safe) for table in TABLES]
        topics.append(NewTopic(self.dead_letters_topic, 1, BROKERS, config=safe))
        topics.append(NewTopic(self.checkpoints_topic, LANES, BROKERS, config=checkpoints))
        try:
            for made in self._admin.create_topics(topics, operation_timeout=_READY_S).values():
                made.result()
        except KafkaException as error:
            raise RuntimeError(f"the topics could not be made: {error}") from error

    def _write_pipeline_file(self) -> None:
        kafka: Mapping[str, Any] = {
            "bootstrap.servers": ",".join(broker.proxied_bootstrap_servers for broker in self.cluster.brokers),
            "session.timeout.ms": round(SESSION_TIMEOUT_S * 1000),
            "heartbeat.interval.ms": 1000,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_S * 1000,
            "compression.type": "lz4",
            # Full as soon as brokers are slow, or there is much to catch up on.
            "queue.buffering.max.messages": 1000,
            "queue.buffering.max.kbytes": 1024,
        }
        pipeline = {
            "name": NAME,
            "kafka": dict(kafka),
            "source": {"region": REGION, "endpoint_url": self.simulator.endpoint_url, **self.source.settings},
            "topics": {"partitions": PARTITIONS},
            "lanes": LANES,
            "batch": {"linger": "200ms"},
            "snapshot": {
                "mode": "initial" if self._has_snapshots else "never",
                "segments": SEGMENTS,
                "read_capacity": READ_CAPACITY,
            },
        }
        self.pipeline_file.write_text(yaml.safe_dump(pipeline))
