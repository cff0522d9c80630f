"""Tokens for OAUTHBEARER that librdkafka cannot get by itself: fetched before they are needed, shared by clients."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from tailrace.errors import UnreachableError, WorldError

logger = logging.getLogger("tailrace.kafka")

_RETRY_S: Final = 10.0
"""How long a failure holds: many clients ask at once, and librdkafka asks again after so long."""
_LEAST_LIFE_S: Final = 2.0
"""A token that holds for less is of no use: a connection may take as long."""


class Token(NamedTuple):
    """A token and when it expires, in seconds since the epoch."""

    text: str
    expires_s: float


class NoTokenError(UnreachableError, KafkaException):
    """There is no token. Both kinds of error: a client cannot be made, and the sentence says why."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.args = (KafkaError(KafkaError._AUTHENTICATION, str(self)),)


class TokenSource:
    """Holds the token of one login. Safe to use from many threads at once.

    A token is renewed once half of its life is over. librdkafka asks for another when a fifth is left, so what it gets
    then is always new. Each client has a thread of its own for that, so fetching never blocks a poll.
    """

    def __init__(
        self,
        fetch: Callable[[], Token],
        extensions: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`fetch` may take seconds, and raises WorldError; `extensions` are sent with each token (RFC 7628)."""
        self._fetch = fetch
        self._extensions = dict(extensions or {})
        self._clock = clock
        self._lock = Lock()
        self._token: Token | None = None
        self._renew_s = 0.0
        self._failure: WorldError | None = None
        self._failed_s = 0.0

    def token(self) -> Token:
        """Return a token that holds, a new one if it is time. Raises NoTokenError when there is none.

        While the present token holds, a failure to renew it is logged only.
        """
        with self._lock:
            if self._token is None or self._clock() >= self._renew_s:
                self._renew()
            now_s = self._clock()
            token, failure = self._token, self._failure
            if token is not None and token.expires_s > now_s + _LEAST_LIFE_S:
                return token
        failure = failure or WorldError("the token has just expired")
        raise NoTokenError(f"logging in to Kafka failed: {failure.message}", hint=failure.hint) from failure

    def _renew(self) -> None:
        if self._failure is not None and self._clock() < self._failed_s + _RETRY_S:
            return
        try:
            token = self._fetch()
        except WorldError as error:
            self._fail(error)
            return
        now_s = self._clock()
        if token.expires_s <= now_s + _LEAST_LIFE_S:
            wrong = f"the new token has expired already, or will in {max(0.0, token.expires_s - now_s):.0f} s"
            self._fail(WorldError(wrong, hint="check this host's clock and what issues the token"))
            return
        self._token, self._failure = token, None
        self._renew_s = now_s + min((token.expires_s - now_s) / 2, token.expires_s - now_s - _LEAST_LIFE_S)

    def _fail(self, failure: WorldError) -> None:
        self._failure, self._failed_s = failure, self._clock()
        if self._token is not None and self._token.expires_s > self._failed_s + _LEAST_LIFE_S:
            logger.warning("token not renewed", extra={"detail": f"the present one still holds: {failure}"})

    def __call__(self, _config: str) -> tuple[Any, ...]:
        """Return a token as confluent-kafka's `oauth_cb` does: text, expiry in seconds, principal, extensions.

        It forgets what is raised here and asks again after ten seconds, so that is logged.
        """
        try:
            token = self.token()
        except NoTokenError as error:
            logger.error("token not renewed", extra={"detail": str(error)})  # noqa: TRY400  # a sentence, no traceback
            raise
        return (*token, "", self._extensions) if self._extensions else (*token,)
