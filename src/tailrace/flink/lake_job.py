"""Runs a lake as a job of Flink on this machine, until it is stopped or has all that the topics hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from tailrace.config.lake import S3, Lake
from tailrace.errors import UnreachableError, WorldError
from tailrace.flink import runs
from tailrace.flink.environment import Environment
from tailrace.flink.gateway import Gateway
from tailrace.flink.job import Job
from tailrace.flink.kafka_options import java_options
from tailrace.flink.lake_sql import Table, setting, settings, statements
from tailrace.kafka import clients, topics
from tailrace.kafka.watched_consumer import Place
from tailrace.lake.ledger import Ledger
from tailrace.lake.opening import definition, open_location
from tailrace.logs import log
from tailrace.operations.lake_targets import LakeTarget
from tailrace.sinks.topics import Topics

_STEP_S: Final = 0.2
_LOOK_S: Final = 1.0
_START_S: Final = 120.0
_FIRST_CHECKPOINT_S: Final = 1.0
_SESSION_MS: Final = 10_000
"""So long a process that was killed keeps the next from beginning."""
_CLAIM_S: Final = 60.0


class LakeJobReport(msgspec.Struct, frozen=True):
    """What became of a job."""

    name: str
    location: str
    at_end: bool
    """Whether the lake has all that the topics held when it began."""
    state: str
    """The URI of the savepoint that the next run begins with."""


class LakeJob:
    """The job of one lake."""

    def __init__(self, target: LakeTarget) -> None:
        """Find the topics and the lake, which is founded if there is none. Raises TailraceError."""
        self._target = target
        self._kafka = java_options(target.kafka)
        self._tables = tables_of(target)
        self._location = open_location(target.lake)
        cluster = topics.describe(clients.admin(target.kafka), target.kafka)
        identity = Ledger(self._location).found(definition(target.lake, target.name, cluster.id))
        self._group = f"{target.name}.lake-{identity}"

    def run(self, environment: Environment, stopped: Callable[[], bool], *, once: bool) -> LakeJobReport:
        """Run until `stopped`, or with `once` to the end. Raises WorldError."""
        lake, kafka = self._target.lake, self._target.kafka
        with ExitStack() as held:
            claim = held.enter_context(_Claim(kafka, f"{self._group}-flink", self._tables[0].topics))
            positions = held.enter_context(_Positions(kafka, self._group, self._tables))
            gateway = held.enter_context(Gateway(environment, options=_s3(lake), variables=_profile(lake)))
            run = runs.begin(self._location, [each.name for each in self._tables])
            job = self._submit(gateway, run)
            log.warning("the job of Flink runs", extra={"lake": lake.name, "began_with": run.state or "the topics"})
            at_end = _Watch(job, claim, positions, gateway).follow(stopped, lake.file.age_ms / 1000, once=once)
            state = job.stop(run.folder)
        return LakeJobReport(lake.name, self._location.uri, at_end, state)

    def _submit(self, gateway: Gateway, run: runs.Run) -> Job:
        options = settings(self._target.lake, self._group, run.folder)
        if run.state:
            options["execution.state-recovery.path"] = run.state
        with gateway.session() as session:
            for name, value in options.items():
                session.run(setting(name, value))
            *made, job = statements(self._target.lake, self._tables, self._kafka, self._group)
            for each in made:
                session.run(each)
            submitted = gateway.submit(session, job)
        submitted.await_running(_START_S)
        return submitted


def tables_of(target: LakeTarget) -> list[Table]:
    """Return the tables that have topics, by name. Raises WorldError when there are none."""
    found: dict[str, list[str]] = {}
    for topic in sorted({place.topic for place in Topics(target.kafka).find(lambda topic: _is_of(target, topic))}):
        found.setdefault(target.table_of(topic) or topic, []).append(topic)
    if not found:
        raise WorldError(
            "there are no topics of the pipeline yet, and a job of Flink reads those that exist when it begins",
            hint="run the pipeline first",
        )
    return [Table(name, own) for name, own in sorted(found.items())]


def _is_of(target: LakeTarget, topic: str) -> bool:
    return target.table_of(topic) is not None


def _s3(lake: Lake) -> Mapping[str, str]:
    if not lake.location.startswith(S3):
        return {}
    named = {"s3.region": lake.region, "s3.endpoint": lake.endpoint_url, "s3.assume-role.arn": lake.role_arn}
    options = {name: value for name, value in named.items() if value}
    return options | ({"s3.path-style-access": "true"} if lake.endpoint_url else {})


def _profile(lake: Lake) -> Mapping[str, str]:
    return {"AWS_PROFILE": lake.profile} if lake.profile else {}


class _Watch:
    """Looks after a job that runs."""

    def __init__(self, job: Job, claim: _Claim, positions: _Positions, gateway: Gateway) -> None:
        self._job = job
        self._claim = claim
        self._positions = positions
        self._gateway = gateway
        self._failure: str | None = None

    def follow(self, stopped: Callable[[], bool], age_s: float, *, once: bool) -> bool:
        """Return when the job is to be stopped: whether it is at the end. Raises WorldError when it has failed.

        With `once` checkpoints, which finish files, are taken after 1, 3, 7 … s, no more seldom than the file's age.
        """
        pause_s = _FIRST_CHECKPOINT_S
        look_s, checkpoint_s = 0.0, clients.monotonic_s() + pause_s
        while not stopped():
            self._claim.keep(_STEP_S)
            now_s = clients.monotonic_s()
            if once and now_s >= checkpoint_s:
                self._checkpoint()
                pause_s = min(pause_s * 2, age_s)
                checkpoint_s = now_s + pause_s
            if now_s >= look_s:
                self._look()
                if once and self._positions.are_at_end():
                    return True
                look_s = now_s + _LOOK_S
        return False

    def _checkpoint(self) -> None:
        try:
            self._job.checkpoint()
        except WorldError:  # it restarts, or has ended: both are looked at
            return

    def _look(self) -> None:
        try:
            state = self._job.state()
            failure = self._job.failure()
        except UnreachableError:
            raise self._ended() from None
        if failure and failure != self._failure:
            log.warning("the job of Flink failed and restarts", extra={"reason": failure})
        self._failure = failure
        if state in {"FAILED", "CANCELED", "FINISHED"}:
            raise self._ended()

    def _ended(self) -> WorldError:
        return WorldError(
            f"the job of Flink has ended: {self._failure or f'see {self._gateway.log_path}'}",
            hint="correct what it says, and start it again: it resumes with its last checkpoint",
        )


class _Positions:
    """How far the job is, as it commits positions to Kafka after each checkpoint. For one thread."""

    def __init__(self, kafka: Mapping[str, str], group: str, tables: Sequence[Table]) -> None:
        wanted = {topic for table in tables for topic in table.topics}
        found = Topics(kafka)
        self._ends = found.ends(found.find(wanted.__contains__))
        own = {"group.id": group, "enable.auto.commit": False, "enable.partition.eof": True}
        self._consumer: Consumer = clients.consumer(kafka, own | {"isolation.level": "read_committed"})

    def __enter__(self) -> _Positions:
        return self

    def __exit__(self, *_failure: object) -> None:
        self._consumer.close()

    def are_at_end(self) -> bool:
        """Return whether no committed record of those that there were at first is behind the positions."""
        behind = [TopicPartition(*place) for place in self._ends]
        for each in self._consumer.committed(behind, timeout=clients.REQUEST_TIMEOUT_S):
            place = Place(each.topic, each.partition)
            if each.offset < self._ends[place] and self._has_records(place, each.offset):
                return False
        return True

    def _has_records(self, place: Place, begin: int) -> bool:
        """Return whether there are records: behind a position may be markers of transactions alone."""
        self._consumer.assign([TopicPartition(*place, OFFSET_BEGINNING if begin < 0 else begin)])
        deadline_s = clients.monotonic_s() + clients.REQUEST_TIMEOUT_S
        while clients.monotonic_s() < deadline_s:
            message = self._consumer.poll(_STEP_S)
            if message is None:
                continue
            error = message.error()
            if error is None:
                return (message.offset() or 0) < self._ends[place]
            if error.code() == KafkaError._PARTITION_EOF:
                return False
        return True


class _Claim:
    """Membership in a consumer group, which keeps a second job of the lake from beginning. Nothing is read."""

    def __init__(self, kafka: Mapping[str, str], group: str, of: Collection[str]) -> None:
        own = {"group.id": group, "enable.auto.commit": False, "session.timeout.ms": _SESSION_MS}
        self._consumer: Consumer = clients.consumer(kafka, own)
        self._kafka = kafka
        self._group = group
        self._topics = list(of)
        self._is_member = self._is_lost = False

    def __enter__(self) -> _Claim:
        try:
            self._join()
        except BaseException:
            self._consumer.close()
            raise
        return self

    def __exit__(self, *_failure: object) -> None:
        self._consumer.close()

    def keep(self, timeout_s: float) -> None:
        """Remain a member. Raises WorldError when it is none any more: another process may run the job now."""
        self._consumer.poll(timeout_s)
        if self._is_lost:
            raise WorldError(
                f"this process was frozen, or without Kafka, for longer than {_SESSION_MS // 1000} s, so that another "
                "may run the job",
                hint="start it again",
            )

    def _join(self) -> None:
        self._consumer.subscribe(self._topics, on_assign=self._joined, on_lost=self._lost)
        deadline_s = time.monotonic() + _CLAIM_S
        while not self._is_member:
            if time.monotonic() > deadline_s:
                raise WorldError(f"cannot join the group {self._group} within {_CLAIM_S:.0f} s")
            self.keep(_STEP_S)
        try:
            members = clients.admin(self._kafka).members_of(self._group)
        except KafkaException as error:
            raise clients.world_error(error, f"listing the group {self._group}", self._kafka) from error
        if len(members) > 1:
            raise WorldError(
                f"another process runs the job of this lake: the group {self._group} has {len(members)} members",
                hint="stop it first: two jobs would write each change twice",
            )

    def _joined(self, consumer: Consumer, _partitions: object) -> None:
        consumer.assign([])
        self._is_member = True

    def _lost(self, _consumer: Consumer, _partitions: object) -> None:
        self._is_lost = True
