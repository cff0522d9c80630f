"""Watches a worker from its own thread: checks that Kafka answers, and logs what an operator should know."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Protocol

from tailrace.core.checkpoint_state import CheckpointState
from tailrace.core.lane_report import LaneReport
from tailrace.core.shard import ShardRef
from tailrace.core.shard_state import Phase
from tailrace.errors import WorldError
from tailrace.process.threads import start_thread
from tailrace.worker.metrics import Metrics, lags_ms
from tailrace.worker.vitals import OVERDUE_S, OverdueRead
from tailrace.worker.worker import REPORT_TIMEOUT_S, Worker

logger = logging.getLogger("tailrace.worker")

TICK_S = 1.0
PING_EVERY_S = 5.0
PING_TIMEOUT_S = 5.0
SUMMARY_EVERY_S = 30.0
_READ_PHASES = {Phase.READY, Phase.READING}


class Parts(Protocol):
    """What the watch needs of the pipeline's parts."""

    def ping_kafka(self, timeout_s: float) -> None:
        """Ask Kafka whether it is there. Raises WorldError that says why it is not."""
        ...

    def topics_of(self, table: str) -> list[str]:
        """Return the topics that a table's changes may go to."""
        ...


class WorkerWatch:
    """Watches one worker for as long as the process lives. `unready_why` answers any thread."""

    def __init__(self, worker: Worker, metrics: Metrics, parts: Parts) -> None:
        self._worker = worker
        self._metrics = metrics
        self._parts = parts
        self._vitals = worker.vitals
        self._streaming: set[str] = set()
        """The tables that were streaming at the last look."""
        self._overdue: set[tuple[ShardRef, int]] = set()
        """The overdue reads of the last look, and how many times `OVERDUE_S` they had taken."""

    def start(self) -> None:
        """Watch from now on."""
        start_thread("watch", self._run)

    def unready_why(self) -> str | None:
        """Return why the worker does not do all of its work, or None. Raises TimeoutError when it does not answer.

        The causes outside the worker come first: what it says of its lanes follows from them.
        """
        if self._vitals.kafka_fault is not None:
            return f"Kafka does not answer: {self._vitals.kafka_fault}"
        if overdue := self._vitals.overdue():
            return sentence_of(overdue[0])
        reads_fail_why = self._vitals.reads_fail_why()
        if reads_fail_why is not None and _reads_shards(self._worker.report()):
            return reads_fail_why
        return self._worker.unready_why()

    def _run(self) -> None:
        pinged_s, summed_up_s = -PING_EVERY_S, time.monotonic()
        while True:
            time.sleep(TICK_S)
            try:
                if time.monotonic() - pinged_s >= PING_EVERY_S:
                    pinged_s = time.monotonic()
                    self.ping_kafka()
                self.log_overdue()
                self.log_tables()
                if time.monotonic() - summed_up_s >= SUMMARY_EVERY_S:
                    summed_up_s = time.monotonic()
                    self.log_summary()
            except TimeoutError:
                logger.warning("the worker does not answer: its engine has been busy for %.0f s", REPORT_TIMEOUT_S)
            except Exception:
                logger.exception("watching the worker failed; this is a defect of Tailrace")

    def ping_kafka(self) -> None:
        """Check whether Kafka answers, and log when that changes."""
        before, fault = self._vitals.kafka_fault, None
        try:
            self._parts.ping_kafka(PING_TIMEOUT_S)
        except WorldError as error:
            fault = str(error)
        self._vitals.kafka_fault = fault
        if fault is not None and before is None:
            logger.error("Kafka does not answer", extra={"detail": fault})
        elif fault is None and before is not None:
            logger.info("Kafka answers again")

    def log_overdue(self) -> None:
        """Log each read that is overdue, and again each time that as long has passed."""
        overdue = {(read.shard, int(read.for_s // OVERDUE_S)): read for read in self._vitals.overdue()}
        for key in overdue.keys() - self._overdue:
            where = {"shard": overdue[key].shard.shard_id, "table": overdue[key].table}
            logger.warning("read overdue", extra={**where, "detail": sentence_of(overdue[key])})
        self._overdue = set(overdue)

    def log_tables(self) -> None:
        """Log each table that streams now and did not at the last look."""
        streaming = self._worker.ask(_streaming).result(timeout=REPORT_TIMEOUT_S)
        for table in sorted(streaming - self._streaming):
            topics = self._parts.topics_of(table)
            logger.info("streaming", extra={"table": table} | ({"topic": ", ".join(topics)} if topics else {}))
        self._streaming = streaming

    def log_summary(self) -> None:
        """Log what was done since the last summary, and how far behind this worker's tables are."""
        reports = self._worker.report()
        lags = lags_ms(reports, self._worker.now_ms())
        counts = self._metrics.counts_since_last()
        fields: dict[str, object] = {"changes": counts["changes"]}
        if counts["dead letters"]:
            fields["dead_letters"] = counts["dead letters"]
        if lags:
            slowest = max(lags, key=lambda table: lags[table])
            fields |= {"lag_s": round(lags[slowest] / 1000, 1), "slowest": slowest}
        shards = Counter(shard.phase for report in reports for shard in report.shards)
        fields |= {"tables": len(lags), "shards": sum(shards[phase] for phase in _READ_PHASES), "lanes": len(reports)}
        logger.info("progress", extra=fields)


def sentence_of(read: OverdueRead) -> str:
    """Log that a read is overdue, and whose code it is in."""
    what = (
        "converting a page of it has taken {:.0f} s so far, now at {}: a function of the transformation that does not "
        "return holds its shard up, and one that is too slow every shard that waits for a reader"
        if read.converting
        else "a read of it has taken {:.0f} s so far, now at {}"
    )
    return f"table {read.table}, shard {read.shard.shard_id}: {what.format(read.for_s, read.at)}"


def _streaming(checkpoint_state: CheckpointState) -> set[str]:
    return {
        table
        for table, record in checkpoint_state.tables.items()
        if record.state == "streaming" and not checkpoint_state.is_stopped(table)
    }


def _reads_shards(reports: list[LaneReport]) -> bool:
    return any(shard.phase in _READ_PHASES for report in reports for shard in report.shards)
