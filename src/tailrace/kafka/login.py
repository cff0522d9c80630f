"""How clients log in: librdkafka's own ways, and those for which Tailrace fetches the tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from tailrace.kafka import msk_iam, token_command
from tailrace.kafka.tokens import TokenSource

OURS: Final = frozenset({token_command.KEY, *msk_iam.KEYS})
"""Properties that librdkafka does not know: Tailrace reads them."""

_OAUTHBEARER: Final = "OAUTHBEARER"
_EXTENSIONS: Final = "sasl.oauthbearer.extensions"
_MECHANISM_KEYS: Final = ("sasl.mechanism", "sasl.mechanisms")


class Contradiction(NamedTuple):
    """A property that does not go with the others: its name, what is wrong, how to fix it."""

    name: str
    wrong: str
    remedy: str


def mechanism(user: Mapping[str, str]) -> str:
    """Return the SASL mechanism in upper case; empty without one."""
    return next((str(user[key]).upper() for key in _MECHANISM_KEYS if key in user), "")


def uses_sasl(user: Mapping[str, str]) -> bool:
    """Return whether the clients log in by SASL at all."""
    return str(user.get("security.protocol", "")).lower().startswith("sasl_")


def fetches_tokens(user: Mapping[str, str]) -> bool:
    """Return whether the tokens are Tailrace's to fetch."""
    return mechanism(user) == msk_iam.MECHANISM or (mechanism(user) == _OAUTHBEARER and token_command.KEY in user)


def as_librdkafka(user: Mapping[str, str]) -> dict[str, str]:
    """Return the properties by librdkafka's names: to it, AWS_MSK_IAM is OAUTHBEARER."""
    given = {name: value for name, value in user.items() if name not in OURS}
    if mechanism(user) == msk_iam.MECHANISM:
        given |= {key: _OAUTHBEARER for key in _MECHANISM_KEYS if key in user}
    return given


def token_properties(user: Mapping[str, str]) -> dict[str, Any]:
    """Return what a new client needs to get its tokens; nothing where librdkafka does it.

    The first token is fetched here: confluent-kafka would wait ten seconds for one, and not say what went wrong.
    Raises NoTokenError, WorldError when an extra is missing.
    """
    if not uses_sasl(user) or not fetches_tokens(user):
        return {}
    source = _source_of(tuple(sorted((name, value) for name, value in user.items() if _matters(name))))
    source.token()
    return {"oauth_cb": source}


def contradictions(user: Mapping[str, str]) -> Iterator[Contradiction]:
    """Return what librdkafka would not refuse, and nobody can want."""
    used = mechanism(user)
    name = next((key for key in _MECHANISM_KEYS if key in user), "")
    if used and not uses_sasl(user):
        is_encrypted = used == msk_iam.MECHANISM or str(user.get("security.protocol", "")).lower() == "ssl"
        remedy = "add `security.protocol: SASL_SSL`" + ("" if is_encrypted else ", or SASL_PLAINTEXT without TLS")
        yield Contradiction(name, "has no effect without a security.protocol that begins with SASL_", remedy)
    if used != msk_iam.MECHANISM:
        for key in (key for key in msk_iam.KEYS if key in user):
            yield Contradiction(
                key, "has no effect without sasl.mechanism: AWS_MSK_IAM", "set that mechanism, or leave it out"
            )
    elif msk_iam.EXTERNAL_ID in user and msk_iam.ROLE_ARN not in user:
        yield Contradiction(msk_iam.EXTERNAL_ID, "has no use without a role", f"add `{msk_iam.ROLE_ARN}`")
    if token_command.KEY in user:
        if used != _OAUTHBEARER:
            yield Contradiction(
                token_command.KEY, "has no effect without sasl.mechanism: OAUTHBEARER", "set it, or leave this out"
            )
        if str(user.get("sasl.oauthbearer.method", "default")).lower() == "oidc":
            yield Contradiction(
                token_command.KEY, "and sasl.oauthbearer.method: oidc both provide the tokens", "keep one of them"
            )
        if not _words(str(user[token_command.KEY])):
            yield Contradiction(
                token_command.KEY, "is not a command: it is empty, or a quote is not closed", "write it as for a shell"
            )


def _words(command: str) -> list[str]:
    try:
        return token_command.words_of(command)
    except ValueError:
        return []


def _matters(name: str) -> bool:
    return name in OURS or name in {*_MECHANISM_KEYS, "bootstrap.servers", _EXTENSIONS}


@lru_cache(maxsize=64)
def _source_of(login: tuple[tuple[str, str], ...]) -> TokenSource:
    """Return the one source of a login in this process."""
    user = dict(login)
    if mechanism(user) == msk_iam.MECHANISM:
        return TokenSource(msk_iam.TokenSigner(user).fetch)
    command = user[token_command.KEY]
    pairs = (pair.partition("=") for pair in user.get(_EXTENSIONS, "").split(",") if pair)
    return TokenSource(lambda: token_command.fetch(command), {name.strip(): value for name, _, value in pairs})
