"""A session of Flink's SQL gateway: statements are run one after the other.

Source: https://nightlies.apache.org/flink/flink-docs-release-2.0/docs/dev/table/sql-gateway/rest/
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

from tailrace.errors import WorldError
from tailrace.flink.rest import call

_PAUSE_S: Final = 0.05


class Session:
    """For one thread; a context manager that closes it."""

    def __init__(self, url: str) -> None:
        """`url` is the gateway's. Raises WorldError."""
        self._url = f"{url}/v3/sessions"
        self._url += "/" + call("POST", self._url, {})["sessionHandle"]

    def run(self, statement: str) -> list[list[Any]]:
        """Run a statement to its end, and return its rows. Raises WorldError."""
        return list(self.rows(statement))

    def rows(self, statement: str) -> Iterator[list[Any]]:
        """Run a statement, and yield its rows as they come. Raises WorldError."""
        operation = call("POST", f"{self._url}/statements", {"statement": statement})["operationHandle"]
        token = 0
        while True:
            results = f"{self._url}/operations/{operation}/result/{token}?rowFormat=JSON"
            answer = call("GET", results)
            if answer["resultType"] == "EOS":
                return
            if answer["resultType"] == "NOT_READY":
                time.sleep(_PAUSE_S)
                continue
            found = answer["results"]["data"]
            yield from (row["fields"] for row in found)
            token += 1
            if not found:
                time.sleep(_PAUSE_S)

    def submit(self, statement: str) -> str:
        """Start the job of a statement, and return its id. Raises WorldError."""
        rows = self.run(statement)
        if not rows:
            raise WorldError("Flink made no job of a statement")
        return str(rows[0][0])

    def close(self) -> None:
        """Close it; its jobs run on. Raises WorldError."""
        call("DELETE", self._url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
