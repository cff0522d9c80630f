"""The world of a run: three brokers behind proxies, the simulator for DynamoDB, tables, topics, the pipeline file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3
import yaml
from confluent_kafka import ElectionType, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka.cimpl import NewTopic

from chaos.schedule import SESSION_TIMEOUT_S, has_snapshots
from support.proxy import KafkaProxy
from tailrace.kafka import clients
from tailrace.kafka.membership import describe
from tailrace.local.dynamodb import REGION
from tailrace.local.kafka import KafkaCluster
from tailrace.local.service import free_ports, start_watched
from tailrace.local.workload import TableSpec, connect, create_table

NAME = "chaos"
BROKERS = 3
LANES = 8
TABLES = ("customers", "orders", "products", "visits")
PARTITIONS = 3
SHARDS_FIRST = 2
SHARDS_MOST = 10
"""Open shards of a table: there is no merging them again."""
SPLITS_MOST = len(TABLES) * (SHARDS_MOST - SHARDS_FIRST)
TRANSACTION_TIMEOUT_S = 10
SEGMENTS = 6
READ_CAPACITY = 200
"""Read capacity units a second: a snapshot takes several seconds, in which something goes wrong."""

_SOURCE_FAULTS: dict[str, Any] = {
    "settings": {
        "shards": SHARDS_FIRST,
        "listing_lag_calls": 2,
        "digit_every": 50_000,
        "slow_s": 0.5,
        "retention_s": 900,
    },
    "rates": {
        "DescribeStream": {"hole": 0.1, "throttle": 0.05, "server_error": 0.03, "slow": 0.03, "hang": 0.002},
        "GetShardIterator": {"throttle": 0.02, "server_error": 0.02, "lost": 0.02, "hang": 0.002},
        "GetRecords": {
            "empty": 0.1,
            "short": 0.05,
            "late_end": 0.5,
            "throttle": 0.01,
            "expired": 0.01,
            "server_error": 0.01,
            "unavailable": 0.002,
            "reset": 0.005,
            "lost": 0.005,
            "cut_short": 0.002,
            "garbled": 0.002,
            "slow": 0.01,
            "hang": 0.0003,
        },
        "Scan": {
            "throttle": 0.05,
            "server_error": 0.02,
            "reset": 0.02,
            "lost": 0.02,
            "cut_short": 0.02,
            "garbled": 0.02,
            "slow": 0.05,
            "hang": 0.005,
        },
        "DescribeTable": {"throttle": 0.02, "server_error": 0.02, "slow": 0.02},
    },
}
_READY_S = 30.0
_ADMIN_S = 10.0


class World:
    """A context manager that starts everything but the workers, and ends it."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.folder = folder
        self.cluster = KafkaCluster(BROKERS, proxied=True)
        self.proxies: list[KafkaProxy] = []
        self.pipeline_file = folder / "pipeline.yaml"
        self.endpoint_url = ""
        self._seed = seed
        self._has_snapshots = has_snapshots(seed)
        self._http = urllib3.PoolManager(timeout=10, retries=False)
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
            self._start_simulator(owned)
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

    def act(self, action: str, **fields: Any) -> Any:
        """Do something to the simulator."""
        return self._control("POST", action, json.dumps(fields).encode())

    def state(self) -> Any:
        """Return the simulator's state."""
        return self._control("GET", "state", None)

    def begin_streams(self) -> None:
        """Begin other streams: what the tables hold now is in none of them."""
        for table in TABLES:
            self.act("switch", table=table)
            self.act("switch", table=table, view_type="NEW_AND_OLD_IMAGES")

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

    def _start_simulator(self, owned: ExitStack) -> None:
        (port,) = free_ports(1)
        faults = self.folder / "faults.json"
        skew_s = 1 if self._has_snapshots else 3
        settings = _SOURCE_FAULTS["settings"] | {"skew_s": skew_s}
        faults.write_text(json.dumps(_SOURCE_FAULTS | {"settings": settings}))
        options = ["--port", str(port), "--seed", str(self._seed), "--faults", str(faults)]
        process = start_watched(
            [sys.executable, "-m", "tailrace", "simulate", *options],
            cwd=self.folder,
            log_path=self.folder / "simulator.log",
        )
        owned.callback(process.wait)
        owned.callback(process.kill)
        self.endpoint_url = f"http://127.0.0.1:{port}"

    def _make_tables(self) -> None:
        deadline_s = time.monotonic() + _READY_S
        while True:
            try:
                self.state()
                break
            except urllib3.exceptions.HTTPError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)
        client = connect(self.endpoint_url)
        for table in TABLES:
            create_table(client, TableSpec(table))
        client.close()

    def _control(self, method: str, name: str, body: bytes | None) -> Any:
        answer = self._http.request(method, f"{self.endpoint_url}/_tailrace/{name}", body=body)
        if answer.status != 200:
            raise RuntimeError(f"the simulator cannot {name}: {answer.data.decode(errors='replace')}")
        return json.loads(answer.data)

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
            "source": {
                "type": "dynamodb-streams",
                "region": REGION,
                "endpoint_url": self.endpoint_url,
                "tables": list(TABLES),
                "poll": {"min": "200ms", "max": "500ms"},
                "discovery": {"interval": "2s"},
            },
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
