"""Makes Kafka clients: the user's properties that each knows, those that the protocol owns, and quiet logs."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ClusterMetadata, ListOffsetsResultInfo, OffsetSpec

from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka import login, properties
from tailrace.kafka.tokens import NoTokenError

logger = logging.getLogger("tailrace.kafka")

_Answer = TypeVar("_Answer")

REQUEST_TIMEOUT_S = 15.0
"""How long a call that a person waits for may take."""
LEADERS_TIMEOUT_S = 1.0
"""How long a new client may take to learn leaders: they are no condition, so it is not waited for longer."""


class Admin(AdminClient):
    """An admin client that remembers why it could not reach a broker: the calls that fail of it do not tell.

    `timeout_s` is how long its calls may take.
    """

    def __init__(self, config: Mapping[str, Any], timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.last_error: KafkaError | None = None
        observed: dict[str, Any] = {**config, "error_cb": self._note}
        super().__init__(observed, logger=logger)

    def forget_error(self) -> None:
        """Forget why a broker could not be reached: it is over, or has to show again."""
        self.last_error = None

    def members_of(self, group: str) -> set[str]:
        """Return the ids of a consumer group's members. Raises KafkaException when not every broker answered.

        `describe_consumer_groups` may abort the process when brokers come and go, so no process that lives through that
        may call it: https://github.com/confluentinc/librdkafka/issues/4605. This is the call that it has superseded.
        """
        return {str(member.id) for each in self.list_groups(group, timeout=self.timeout_s) for member in each.members}

    def _note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.last_error = error


def producer(user: Mapping[str, str], own: Mapping[str, Any]) -> Producer:
    """Make a producer; `own` wins over `user`. Raises NoTokenError when it needs a token and there is none."""
    return Producer(_config(properties.for_producer(user), user, own), logger=logger)


def consumer(user: Mapping[str, str], own: Mapping[str, Any]) -> Consumer:
    """Make a consumer; `own` wins over `user`. Raises NoTokenError when it needs a token and there is none."""
    return Consumer(_config(properties.for_consumer(user), user, own), logger=logger)


def monotonic_s() -> float:
    """Return a time that only differences of mean something, in seconds."""
    return time.monotonic()


def drop(client: Consumer) -> None:
    """Close a consumer that has stopped, in a thread of its own: to close it may take forever."""
    Thread(target=client.close, name="drop", daemon=True).start()


def admin(user: Mapping[str, str], timeout_s: float = REQUEST_TIMEOUT_S) -> Admin:
    """Make an admin client, whose calls take no longer than `timeout_s`, nor than `REQUEST_TIMEOUT_S`.

    Raises NoTokenError when it needs a token and there is none.
    """
    own = {"allow.auto.create.topics": False}  # to ask for a topic must not make it
    return Admin(_config(properties.for_admin(user), user, own), min(timeout_s, REQUEST_TIMEOUT_S))


def _config(known: Mapping[str, str], user: Mapping[str, str], own: Mapping[str, Any]) -> dict[str, Any]:
    return {**_OBSERVED, **login.as_librdkafka(known), **login.token_properties(user), **own}


class LastingAdmin:
    """An admin client for as long as the process lives; threads may share it.

    After an outage a client may never find the brokers again (`kafka.client_watch` says why), nor learn who leads a
    partition, so one that did not get an answer is not used again.
    """

    def __init__(
        self,
        user: Mapping[str, str],
        timeout_s: float = REQUEST_TIMEOUT_S,
        make: Callable[[Mapping[str, str], float], Admin] = admin,
    ) -> None:
        self._user = user
        self._make = make
        self._timeout_s = timeout_s
        self._client: Admin | None = None

    @contextlib.contextmanager
    def use(self) -> Iterator[Admin]:
        """Lend the client for one call."""
        client = self._client
        if client is None:  # not `or`: a client is false while its queue is empty
            client = self._client = self._make(self._user, self._timeout_s)
        try:
            yield client
        except (UnreachableError, KafkaException):
            self.drop()
            raise

    def drop(self) -> None:
        """Use another client from now on."""
        self._client = None


def metadata(client: Admin, user: Mapping[str, str]) -> ClusterMetadata:
    """Ask for the cluster's brokers, at least one, and topics. Raises WorldError that says why it failed."""
    return _metadata(client, user, "asking Kafka for its topics", None, client.timeout_s)


def ping(client: Admin, user: Mapping[str, str], topic: str, timeout_s: float) -> None:
    """Ask the cluster for the metadata of `topic`, which needs no right. Raises WorldError that says why it failed.

    `describe_cluster` would not need a topic, but it aborts the process when a broker that has just started, or was
    frozen, names no broker: `rd_kafka_DescribeClusterResponse_parse` of librdkafka 2.16 fails on an answer without
    brokers and topics (`_PARTIAL`), but returns no error, and its caller asserts that there is a result then.
    """
    _metadata(client, user, "asking Kafka whether it is there", topic, timeout_s)
    client.forget_error()


def _metadata(
    client: Admin, user: Mapping[str, str], attempted: str, topic: str | None, timeout_s: float
) -> ClusterMetadata:
    try:
        found = _list_topics(client, topic, timeout_s)
    except KafkaException as error:
        client.poll(0)
        raise world_error(error, attempted, user, client.last_error) from error
    if not found.brokers:
        raise UnreachableError(f"{attempted} failed: no broker takes part in the cluster yet", hint=_STARTING)
    return found


def _list_topics(client: Admin, topic: str | None, timeout_s: float) -> ClusterMetadata:
    """Ask for metadata; give up early when the brokers refuse the login, which librdkafka would try till time is up.

    A broker that has just started may refuse one that is right, so a refusal counts only after `_REFUSED_S`.
    """
    client.forget_error()
    begun_s = time.monotonic()
    slice_s = min(timeout_s, _REFUSED_S)
    while True:
        try:
            return client.list_topics(topic, timeout=slice_s)
        except KafkaException:
            client.poll(0)
            left_s = begun_s + timeout_s - time.monotonic()
            if left_s <= 0 or (client.last_error is not None and _refuses_login(client.last_error)):
                raise
        slice_s = left_s


def offsets(
    client: Admin,
    asked: Mapping[TopicPartition, OffsetSpec],
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[TopicPartition, Future[int]]:
    """Ask for an offset of each partition: earliest, latest, or the first of a time, -1 if no record is as new.

    A future without an answer raises KafkaException.

    librdkafka's own answer for a leader that was not reached in time is the offset -1001 (`RD_KAFKA_OFFSET_INVALID`)
    without an error: `rd_kafka_ListOffsets_response_merge` of 2.16 overlooks that the leader's part failed.
    """
    if not asked:
        return {}
    answers = client.list_offsets(dict(asked), isolation_level=isolation, request_timeout=client.timeout_s)
    return {place: _known_offset(answer) for place, answer in answers.items()}


def _known_offset(answer: Future[ListOffsetsResultInfo]) -> Future[int]:
    known: Future[int] = Future()

    def hand_on(answer: Future[ListOffsetsResultInfo]) -> None:
        error = answer.exception()
        if error is not None:
            known.set_exception(error)
        elif (offset := int(answer.result().offset)) == OFFSET_INVALID:
            silence = KafkaError(KafkaError._TIMED_OUT, "the partition's leader did not answer")
            known.set_exception(KafkaException(silence))
        else:
            known.set_result(offset)

    answer.add_done_callback(hand_on)
    return known


def learn_leaders(client: Producer | Consumer, topic: str) -> None:
    """Make a new client connect and learn a topic's leaders before it needs them.

    librdkafka looks for a coordinator, and for where a partition begins, only with a connection and a leader; without,
    it tries again after half a second. The first answer comes from a bootstrap server, whose connection it then leaves
    for the broker's own: the second answer waits for that. If Kafka does not answer, the call that follows tells it.
    """
    with contextlib.suppress(KafkaException):
        for _ in range(2):
            client.list_topics(topic, timeout=LEADERS_TIMEOUT_S)


def world_error(
    error: KafkaException | KafkaError, attempted: str, user: Mapping[str, str], why: KafkaError | None = None
) -> WorldError:
    """Return a Kafka failure as an error with its fix; `why` is what the client saw before (`Admin.last_error`)."""
    if isinstance(error, NoTokenError):
        return error
    cause = why or (error.args[0] if isinstance(error, KafkaException) else error)
    hint = _HINTS.get(cause.code(), "see the broker's log for the cause")
    if _SSL_ALERT in cause.str():
        hint = _HINTS[KafkaError._SSL]
    elif cause.code() == KafkaError._AUTHENTICATION:
        hint = _LOGIN_HINTS.get(login.mechanism(user), _PASSWORD_HINT)
    hint = hint.format(servers=user.get("bootstrap.servers", ""))
    kind = UnreachableError if cause.code() in _PASSING else WorldError
    return kind(f"{attempted} failed: {cause.str()} ({cause.name()})", hint=hint)


def answer(question: Callable[[], Future[_Answer]], timeout_s: float) -> _Answer:
    """Return what an admin call answers; ask again while a new or restarted broker does not know its part yet.

    Raises KafkaException.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return question().result()
        except KafkaException as error:
            if error.args[0].code() not in _SETTLING or time.monotonic() >= deadline_s:
                raise
        time.sleep(_SETTLING_POLL_S)


def is_denial(error: KafkaError) -> bool:
    """Return whether the cluster's rights or settings forbid it: it fails again until somebody changes them."""
    return error.code() in _DENIALS


def _refuses_login(error: KafkaError) -> bool:
    """Return whether somebody answers, and does not let this client in: it will not do so later either."""
    return error.code() in _LOGIN_REFUSED or _SSL_ALERT in error.str()


_PASSING = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_CONTROLLER,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
}
_SETTLING = {
    KafkaError._PARTIAL,  # Metadata without brokers and topics
    KafkaError._NOENT,  # no leader is known of any partition whose offset is asked for: the client may never learn it
    KafkaError.FENCED_LEADER_EPOCH,  # the client may never learn of the election
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.NOT_CONTROLLER,
}
"""Answers of brokers that have just started, or elect: they pass within seconds."""
_SETTLING_POLL_S = 0.2
_PASSING |= _SETTLING
_STARTING = "the brokers are starting or electing: try again; if it lasts, see their logs"
_UNREACHABLE = "check that Kafka runs at kafka.bootstrap.servers ({servers}) and that security.protocol fits it"
_HINTS = {
    **dict.fromkeys(_SETTLING, _STARTING),
    KafkaError._TRANSPORT: _UNREACHABLE,
    KafkaError._ALL_BROKERS_DOWN: _UNREACHABLE,
    KafkaError._TIMED_OUT: _UNREACHABLE,
    KafkaError._RESOLVE: _UNREACHABLE,
    KafkaError._SSL: (
        "check ssl.ca.location in the kafka section, which certifies the brokers, and ssl.certificate.location and "
        "ssl.key.location, which certify this client"
    ),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (
        "grant the principal Read, Write, Describe and Create on the pipeline's topics"
    ),
    KafkaError.GROUP_AUTHORIZATION_FAILED: "grant the principal Read on the consumer group named like the pipeline",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        "grant the principal Write and Describe on the transactional ids that begin with <name>."
    ),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: (
        "grant the principal IdempotentWrite, and Create if topics are to be made, on the cluster"
    ),
    KafkaError.INVALID_TRANSACTION_TIMEOUT: (
        "set transaction.timeout.ms in the kafka section to no more than the brokers' transaction.max.timeout.ms"
    ),
}
_PASSWORD_HINT = "check sasl.mechanism, sasl.username and sasl.password in the kafka section"
_LOGIN_HINTS = {
    "OAUTHBEARER": (
        "check the sasl.oauthbearer properties in the kafka section, and which issuer and audience the brokers accept"
    ),
    "AWS_MSK_IAM": "check that the cluster has IAM access control, and that this identity may kafka-cluster:Connect",
}
"""How to fix a login that is refused, by its mechanism."""
_LOGIN_REFUSED = {KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED}
_SSL_ALERT = "SSL routines"
"""How librdkafka tells of a broker that wants another certificate, as a broken connection: with TLS 1.3 the broker says
so after the handshake."""
_REFUSED_S = 3.0
_DENIALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
}


_REPEAT_S = 60.0
_told_s: dict[int | None, float] = {}


def tell(error: KafkaError) -> None:
    """Log what librdkafka goes through, each kind once a minute; what it means is decided where a call fails."""
    now_s = time.monotonic()
    if now_s - _told_s.get(error.code(), -_REPEAT_S) >= _REPEAT_S:
        _told_s[error.code()] = now_s
        logger.warning("%s (%s)", error.str(), error.name())


_OBSERVED: dict[str, Any] = {
    "error_cb": tell,
    "log_level": "2",  # librdkafka logs each failed connection as well, many times a second while a broker is away
}


def as_bytes(data: str | bytes | None) -> bytes | None:
    """Return a message's key or value as the bytes that it is made of."""
    return data.encode() if isinstance(data, str) else data
