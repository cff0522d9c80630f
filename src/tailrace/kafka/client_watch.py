"""Watches a long-lived client from outside: another client asks the brokers whether it has stopped (`core.stall`).

Why they stop: a broker that has just started may answer Metadata without naming any broker. librdkafka then drops the
brokers that it knew, the bootstrap servers among them, and never looks for others
(https://github.com/confluentinc/librdkafka/issues/5301). No setting prevents it; a new client works at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

from tailrace.core.stall import Stall, Verdict
from tailrace.errors import StalledError
from tailrace.kafka import clients
from tailrace.kafka.client_factory import ClientFactory
from tailrace.kafka.clients import Admin, LastingAdmin
from tailrace.kafka.tokens import NoTokenError

logger = logging.getLogger("tailrace.kafka")

PAUSE_S: Final = 2.0
"""Time from an answer to the next question."""
TIMEOUT_S: Final = 5.0
"""How long an answer is waited for."""

_K = TypeVar("_K", bound=Hashable)


class ClientWatch(Generic[_K]):
    """Asks now and then, without waiting for the answer. For one thread.

    A broker that does not answer proves nothing, so an outage is never taken for a client that has stopped.
    """

    def __init__(
        self,
        user: Mapping[str, str],
        client: str,
        on_replaced: Callable[[], None] = lambda: None,
        *,
        ask: Callable[[Admin], Mapping[_K, Future[Any]]],
        behind: Callable[[dict[_K, Any]], Mapping[_K, int]],
        factory: ClientFactory = clients,
    ) -> None:
        """Watch what is named `client` in the log.

        `ask` sends the question, `behind` returns where the client is if the answers show it to be behind.
        `on_replaced` hears of each replacement.
        """
        self._client = client
        self._factory = factory
        self._on_replaced = on_replaced
        self._ask = ask
        self._behind = behind
        self._stall: Stall[_K] = Stall()
        self._admin = LastingAdmin(user, TIMEOUT_S, factory.admin)
        self._asked: Mapping[_K, Future[Any]] | None = None
        self._next_s = self._factory.monotonic_s() + PAUSE_S

    def must_replace(self) -> bool:
        """Return whether the client has to be replaced now. Raises StalledError when new ones stopped as well."""
        if self._asked is None:
            if self._factory.monotonic_s() >= self._next_s:
                try:
                    with self._admin.use() as admin:
                        self._asked = self._ask(admin)
                except NoTokenError:  # it is logged; to have no answer proves nothing
                    self._next_s = self._factory.monotonic_s() + PAUSE_S
            return False
        if not all(each.done() for each in self._asked.values()):
            return False
        answers = {each: future.result() for each, future in self._asked.items() if future.exception() is None}
        if len(answers) < len(self._asked):  # the client that asks may have stopped in the same way, or in part
            self._admin.drop()
        self._asked, self._next_s = None, self._factory.monotonic_s() + PAUSE_S
        verdict = self._stall.look(self._behind(answers), round(self._factory.monotonic_s() * 1000))
        if verdict is Verdict.KEEP:
            return False
        where = ", ".join(sorted(map(str, self._stall.stopped)))
        if verdict is Verdict.GIVE_UP:
            raise StalledError(
                f"the {self._client} has stopped ({where}) although Kafka answers, and so did those that replaced it",
                hint="a restart helps if the fault is this process's; otherwise look at the brokers' logs",
            )
        logger.warning("client replaced", extra={"client": self._client, "detail": f"it had stopped: {where}"})
        self._on_replaced()
        return True
