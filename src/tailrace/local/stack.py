"""Kafka and DynamoDB Local together, as the demo and `tailrace local up` use them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from tailrace.local.artifacts import Progress, classpath, java, pinned
from tailrace.local.dynamodb import DynamoDBLocal
from tailrace.local.kafka import KafkaBroker


class LocalStack:
    """Both services, started side by side; a context manager that starts and closes them.

    `progress` is told of downloads, which only the first start on a machine needs; the other arguments are as those
    of the services.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        kafka_port: int | None = None,
        dynamodb_port: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._progress = progress
        self.kafka = KafkaBroker(port=kafka_port, folder=folder and folder / "kafka")
        self.dynamodb = DynamoDBLocal(port=dynamodb_port, folder=folder and folder / "dynamodb")

    @property
    def bootstrap_servers(self) -> str:
        """Kafka's `bootstrap.servers`."""
        return self.kafka.bootstrap_servers

    @property
    def endpoint_url(self) -> str:
        """DynamoDB's `endpoint_url`."""
        return self.dynamodb.endpoint_url

    def start(self) -> Self:
        """Fetch what is missing, start both, and return when both serve requests; if one fails, close both."""
        try:
            java()  # before a long download
            classpath(*pinned("kafka"), *pinned("dynamodb"), progress=self._progress)
            self.dynamodb.spawn()
            self.kafka.start()
            self.dynamodb.wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def detach(self) -> None:
        """Keep both running when this process ends."""
        self.kafka.detach()
        self.dynamodb.detach()

    def close(self) -> None:
        """Stop both and remove temporary folders."""
        self.kafka.close()
        self.dynamodb.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
