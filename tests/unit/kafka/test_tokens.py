"""Tokens are renewed ahead of time, shared, and what goes wrong with them is one sentence."""

from __future__ import annotations

import base64
import json
import logging
import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka import clients, login, token_command
from tailrace.kafka.tokens import NoTokenError, Token, TokenSource

NOW_S = 1_800_000_000.0
COMMAND = "sasl.oauthbearer.token.command"


class Issued:
    """Issues tokens of a life of 100 s by a clock that the test moves, until it is `broken`."""

    def __init__(self) -> None:
        self.now_s = NOW_S
        self.count = 0
        self.broken: WorldError | None = None
        self.source = TokenSource(self._fetch, clock=lambda: self.now_s)

    def _fetch(self) -> Token:
        self.count += 1
        if self.broken:
            raise self.broken
        return Token(f"token-{self.count}", self.now_s + 100)


def test_clients_share_a_token_and_what_librdkafka_gets_with_a_fifth_left_is_new() -> None:
    issued = Issued()
    assert issued.source.token().text == "token-1"
    issued.now_s += 49
    assert issued.source("").__class__ is tuple
    assert issued.source("") == ("token-1", NOW_S + 100)
    issued.now_s = NOW_S + 49 + 0.8 * 51
    assert issued.source("") == ("token-2", issued.now_s + 100)


def test_while_a_token_holds_a_failure_to_renew_it_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    issued = Issued()
    issued.source.token()
    issued.broken = UnreachableError("the issuer is away", hint="start it")
    issued.now_s += 60
    assert issued.source.token().text == "token-1"
    assert [(each.message, each.__dict__["detail"]) for each in caplog.records] == [
        ("token not renewed", "the present one still holds: the issuer is away; start it")
    ]
    issued.now_s += 39
    with pytest.raises(NoTokenError, match=r"^logging in to Kafka failed: the issuer is away; start it$"):
        issued.source("")
    assert caplog.records[-1].levelno == logging.ERROR
    issued.broken = None
    issued.now_s += 11
    assert issued.source.token().text == "token-4"


def test_many_that_ask_at_once_do_not_repeat_a_failure() -> None:
    issued = Issued()
    issued.broken = WorldError("no credentials")
    for _ in range(20):
        with pytest.raises(NoTokenError):
            issued.source.token()
    assert issued.count == 1


def test_a_token_that_has_expired_already_is_refused() -> None:
    source = TokenSource(lambda: Token("old", NOW_S - 5), clock=lambda: NOW_S)
    with pytest.raises(NoTokenError, match=r"the new token has expired already.*check this host's clock"):
        source.token()


def test_there_being_no_token_is_an_error_of_both_kinds() -> None:
    """A client that cannot be made fails as one that a broker refuses, and with its own sentence."""
    error = NoTokenError("logging in to Kafka failed: oops", hint="try again")
    assert isinstance(error, UnreachableError)
    assert isinstance(error, KafkaException)
    assert error.args[0].code() == KafkaError._AUTHENTICATION
    assert clients.world_error(error, "asking", {}) is error


# The command


def jwt(**claims: object) -> str:
    parts = ({"alg": "RS256"}, claims)
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts), "c2ln"])


def test_a_command_prints_a_jwt_or_the_answer_of_a_token_endpoint() -> None:
    assert token_command.read_token(jwt(exp=NOW_S + 60) + "\n", NOW_S) == Token(jwt(exp=NOW_S + 60), NOW_S + 60)
    answer = json.dumps({"access_token": "opaque", "expires_in": 90, "token_type": "Bearer"})
    assert token_command.read_token(answer, NOW_S) == Token("opaque", NOW_S + 90)
    assert token_command.read_token(json.dumps({"access_token": jwt(exp=NOW_S + 9)}), NOW_S).expires_s == NOW_S + 9


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("", "printed nothing"),
        ("  \n", "printed nothing"),
        ("warning: x\ntoken", "printed no token"),
        ("opaque", "printed a token that does not say when it expires"),
        ("a.b.c", "does not say when it expires"),
        (jwt(sub="x"), "does not say when it expires"),
        (jwt(exp="tomorrow"), "does not say when it expires"),
        ('{"access_token": 5', "printed no token"),
        ('{"access_token": ""}', "printed no token"),
        ('{"error": "invalid_client"}', "printed no token"),
        ('{"access_token": "opaque", "expires_in": true}', "does not say when it expires"),
        ("[1]", "printed no token"),
        ("\x00", "printed no token"),
    ],
)
def test_rubbish_is_one_sentence_without_what_was_printed(printed: str, told: str) -> None:
    with pytest.raises(WorldError) as raised:
        token_command.read_token(printed, NOW_S)
    assert f"the command of {COMMAND} " in str(raised.value)
    assert told in str(raised.value)
    assert "opaque" not in str(raised.value)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("/nowhere/token", f"the program /nowhere/token of {COMMAND} cannot be started: no such file or directory"),
        ("sh -c 'echo hush; echo one >&2; echo two >&2; exit 3'", "failed with exit code 3: two; run it by hand"),
        ("sh -c 'exit 1'", "failed with exit code 1, and no message"),
        ("sh -c 'kill -9 $$'", "failed with signal 9"),
    ],
)
def test_a_command_that_fails_is_one_sentence(command: str, told: str) -> None:
    with pytest.raises(WorldError) as raised:
        token_command.fetch(command)
    assert told in str(raised.value)
    assert "hush" not in str(raised.value)


def test_a_command_that_hangs_is_ended_with_all_that_it_has_started() -> None:
    begun_s = time.monotonic()
    with pytest.raises(UnreachableError, match=r"did not end within 0\.2 s"):
        token_command.fetch("sh -c 'sleep 60 & sleep 60'", timeout_s=0.2)
    assert time.monotonic() - begun_s < 30


def test_a_client_without_a_token_is_not_waited_for() -> None:
    user = {"bootstrap.servers": "127.0.0.1:1", "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER"}
    begun_s = time.monotonic()
    with pytest.raises(NoTokenError, match=r"logging in to Kafka failed: the command of .* failed with exit code 7"):
        clients.admin({**user, COMMAND: "sh -c 'exit 7'"})
    assert time.monotonic() - begun_s < 8  # confluent-kafka would wait for 10 s


def test_extensions_go_with_each_token() -> None:
    user = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.extensions": "logicalCluster=lkc-1,identityPoolId=pool-2",
        COMMAND: f"echo {jwt(exp=time.time() + 600)}",
    }
    (_, _, principal, extensions) = login.token_properties(user)["oauth_cb"]("")
    assert (principal, extensions) == ("", {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"})


def test_nothing_is_run_for_other_logins() -> None:
    assert login.token_properties({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", COMMAND: "false"}) == {}
    assert login.token_properties({"sasl.mechanism": "OAUTHBEARER", COMMAND: "false"}) == {}
