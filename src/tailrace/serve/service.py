"""What the REST API does, without HTTP: connectors of the group, their state, their positions."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final

from tailrace._version import __version__
from tailrace.config import Clients, FileErrors
from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.kafka import checkpoint_topic, clients, topics
from tailrace.kafka.java_clients import translate
from tailrace.serve import connectors
from tailrace.serve.errors import ApiError, not_found
from tailrace.serve.state import Connector, ConnectorRecord, LoggerRecord, RestartRecord, Target, TargetRecord
from tailrace.serve.store import Store

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SETTLE_S: Final = 30.0
_COMMIT: Final = "unknown"


class Service:
    """The operations. Safe for many threads; each raises `ApiError` for what cannot be done."""

    def __init__(self, store: Store, given: Clients, *, address: str) -> None:
        self._store = store
        self._clients = given
        self._kafka = translate(given.properties).properties
        self._admin = clients.LastingAdmin(self._kafka)
        self._address = address

    def root(self) -> dict[str, str]:
        """Return version and cluster, as `GET /`."""
        with self._admin.use() as admin:
            cluster = topics.describe(admin, self._kafka)
        return {"version": __version__, "commit": _COMMIT, "kafka_cluster_id": cluster.id}

    def names(self) -> list[str]:
        """Return the names of the connectors."""
        return [each.name for each in self._store.read(lambda state: state.connectors())]

    def create(self, name: str, config: Mapping[str, str], target: Target = "RUNNING") -> dict[str, Any]:
        """Create a connector."""
        if not _NAME.fullmatch(name):
            raise ApiError(400, f"{name!r} cannot be a connector's name: use letters, digits, `.`, `_` and `-`")
        given = _named(name, config)
        if self._store.read(lambda state: state.connector(name)) is not None:
            raise ApiError(409, f"Connector {name} already exists")
        return self._put(name, given, target)

    def put_config(self, name: str, config: Mapping[str, str]) -> tuple[dict[str, Any], bool]:
        """Create a connector, or give it another configuration; return it, and whether it is new."""
        before = self._store.read(lambda state: state.connector(name))
        if before is None:
            return self.create(name, config), True
        given = _named(name, connectors.with_secrets_of(config, before.config))
        return self._put(name, given, None), False

    def patch_config(self, name: str, changes: Mapping[str, str | None]) -> dict[str, Any]:
        """Change some keys of a configuration; null takes one out (KIP-477)."""
        merged: dict[str, str | None] = {**self._find(name).config, **changes}
        return self.put_config(name, {key: value for key, value in merged.items() if value is not None})[0]

    def delete(self, name: str) -> None:
        """Delete a connector; its positions stay."""
        self._find(name)
        self._store.write("connector", name, None)
        self._store.write("target", name, None)
        self._store.write("restart", name, None)

    def info(self, name: str) -> dict[str, Any]:
        """Return a connector, as `GET /connectors/{name}`."""
        connector = self._find(name)
        tasks = [{"connector": name, "task": task["id"]} for task in self.status(name)["tasks"]]
        return {"name": name, "config": self._shown(connector), "tasks": tasks, "type": "source"}

    def config(self, name: str) -> dict[str, str]:
        """Return a configuration without secrets."""
        return self._shown(self._find(name))

    def status(self, name: str) -> dict[str, Any]:
        """Return a connector's state and its tasks': one in each process."""
        connector = self._store.read(lambda state: state.connector(name))
        if connector is None:
            raise ApiError(404, f"No status found for connector {name}")
        found = self._store.read(lambda state: state.tasks(name, _now_ms()))
        tasks = [
            {
                "id": task.id,
                "state": task.report.state,
                "worker_id": task.address,
                "version": __version__,
                **({"trace": task.report.trace} if task.report.trace else {}),
            }
            for task in found
        ]
        state: str = connector.target
        if state == "RUNNING" and not tasks:
            state = "UNASSIGNED"
        own: dict[str, Any] = {"state": state, "worker_id": self._address, "version": __version__}
        if tasks and all(task["state"] == "FAILED" for task in tasks):
            own |= {"state": "FAILED", "trace": tasks[0].get("trace", "")}
        return {"name": name, "connector": own, "tasks": tasks, "type": "source"}

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """Return the tasks with their configuration."""
        config = self.config(name)
        return [
            {"id": {"connector": name, "task": task["id"]}, "config": config} for task in self.status(name)["tasks"]
        ]

    def task_status(self, name: str, task: int) -> dict[str, Any]:
        """Return the state of one task."""
        found = next((each for each in self.status(name)["tasks"] if each["id"] == task), None)
        if found is None:
            raise ApiError(404, f"No status found for task {name}-{task}")
        return dict(found)

    def set_target(self, name: str, target: Target) -> None:
        """Pause, stop or resume a connector."""
        self._find(name)
        self._store.write("target", name, TargetRecord(target))

    def restart(self, name: str, *, only_failed: bool = False) -> None:
        """Restart a connector in every process."""
        self._find(name)
        self._store.write("restart", name, RestartRecord(only_failed))

    def topics(self, name: str) -> dict[str, Any]:
        """Return the topics that a connector's tables have."""
        connector = self._find(name)
        found: set[str] = set()
        try:
            pipeline = connectors.load(name, connector.config, self._clients).pipeline
            states = self._checkpoints(pipeline.name, pipeline.lanes)
            tables = set(pipeline.source.named_tables) | set(states.tables)
            for table in tables:
                found |= {
                    topic for each in pipeline.source.tables_of(table) for topic in pipeline.topics_of(each, table)
                }
        except (FileErrors, WorldError):
            found = set()  # it has not run yet, so it has none
        return {name: {"topics": sorted(found)}}

    def offsets(self, name: str) -> dict[str, Any]:
        """Return the position of each shard, as `GET /connectors/{name}/offsets` (KIP-875)."""
        pipeline = self._pipeline(name)
        state = self._checkpoints(pipeline.name, pipeline.lanes)
        found = [
            {"partition": _partition(shard), "offset": {"sequenceNumber": checkpoint.sequence}}
            for shard, checkpoint in sorted(state.checkpoints.items())
            if checkpoint.sequence is not None
        ]
        return {"offsets": found}

    def reset_offsets(self, name: str) -> dict[str, str]:
        """Forget all positions of a stopped connector: it begins again where its configuration says."""
        connector = self._find(name)
        if connector.target != "STOPPED":
            raise ApiError(
                400, f"Connectors must be in the STOPPED state before their offsets can be modified: {name} is not"
            )
        deadline_s = time.monotonic() + _SETTLE_S
        while self._store.read(lambda state: state.tasks(name, _now_ms())):
            if time.monotonic() > deadline_s:
                raise ApiError(409, f"Connector {name} has not stopped everywhere yet; try again")
            self._store.wait_for_change(1.0)
        pipeline = self._pipeline(name)
        with self._admin.use() as admin:
            topics.delete(admin, self._kafka, pipeline.checkpoints_topic)
        return {"message": f"The offsets for connector {name} have been reset successfully"}

    def set_logger(self, name: str, level: str) -> None:
        """Set a logger's level in every process."""
        self._store.write("logger", name, LoggerRecord(level))

    def validate(self, plugin: str, config: Mapping[str, str]) -> dict[str, Any]:
        """Return each key of a configuration with its errors."""
        connector = connectors.find_plugin(plugin)
        if connector is None:
            raise ApiError(404, f"Unknown connector plugin {plugin}")
        included = config.get("connector.class", plugin)
        if connectors.find_plugin(included) is not connector:
            raise ApiError(400, f"Included connector type {included} does not match request type {plugin}")
        named = {**config, "connector.class": included}
        return connectors.validation(plugin, connector, named, self._clients)

    def _put(self, name: str, config: Mapping[str, str], target: Target | None) -> dict[str, Any]:
        try:
            connectors.load(name, config, self._clients)
        except FileErrors as errors:
            count = len(errors.errors)
            sentences = "\n".join(str(error) for error in errors.errors)
            raise ApiError(
                400, f"Connector configuration is invalid and contains the following {count} error(s):\n{sentences}"
            ) from None
        # First, as soon as there is a connector it does what is wanted, not what was wanted of one that is deleted.
        if target is not None:
            self._store.write("target", name, TargetRecord(target))
        self._store.write("connector", name, ConnectorRecord(dict(config)))
        return self.info(name)

    def _find(self, name: str) -> Connector:
        found = self._store.read(lambda state: state.connector(name))
        if found is None:
            raise not_found(name)
        return found

    def _shown(self, connector: Connector) -> dict[str, str]:
        return connectors.shown(connector.config)

    def _pipeline(self, name: str) -> Any:
        try:
            return connectors.load(name, self._find(name).config, self._clients).pipeline
        except FileErrors as errors:
            raise ApiError(500, str(errors)) from None

    def _checkpoints(self, pipeline: str, lanes: int) -> CheckpointState:
        with self._admin.use() as admin:
            state = topics.describe(admin, self._kafka).topics.get(checkpoint_topic.topic_name(pipeline))
        if state is None:
            return CheckpointState(lanes)
        return checkpoint_topic.read_checkpoint_state(self._kafka, pipeline, state.partitions)


def _named(name: str, config: Mapping[str, str]) -> dict[str, str]:
    """Return a configuration with its connector's name. Raises `ApiError` when it has another."""
    if config.get("name", name) != name:
        raise ApiError(
            400, f"Connector name configuration ({config['name']}) doesn't match connector name in the URL ({name})"
        )
    return {**config, "name": name}


def _partition(shard: ShardRef) -> dict[str, str]:
    return {"stream": shard.stream, "shardId": shard.shard_id}


def _now_ms() -> int:
    return int(time.time() * 1000)
