"""What connectors ask for to reach AWS: credentials, regions and addresses of services."""

from __future__ import annotations

import re
from typing import Final

from tailrace.config.connectors.connector import Draft, Key

_REGION_IN_HOST: Final = re.compile(
    r"(?:^|//)(?:[a-z-]+\.)?(?:dynamodb|kinesis)(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-[0-9])\."
)
_AWS_HOST: Final = re.compile(r"(?:https://)?[a-z0-9.-]+\.amazonaws\.com(?:\.cn)?/?")

_ROLE_HINT: Final = "use an access key, or leave it out and give this process a role"


def credentials(access_key: str, secret_key: str) -> tuple[Key, Key]:
    """Return the two keys of an access key, by the names that a connector has for them."""
    chain = "without it, the AWS SDK's usual chain: environment, profile, container, instance"
    return (
        Key(access_key, "STRING", f"`source.access_key_id`; {chain}", importance="HIGH"),
        Key(secret_key, "PASSWORD", "`source.secret_access_key`", importance="HIGH"),
    )


def put_credentials(draft: Draft, access_key: str, secret_key: str) -> None:
    """Set the credentials, if both are there."""
    identity, secret = draft.given(access_key), draft.given(secret_key)
    if (identity is None) != (secret is None):
        missing, other = (access_key, secret_key) if identity is None else (secret_key, access_key)
        draft.problem(missing, f"is missing beside `{other}`", "give both, or neither")
        return
    draft.put(identity, "source", "access_key_id", key=access_key)
    draft.put(secret, "source", "secret_access_key", key=secret_key)


def put_endpoint(draft: Draft, name: str, *path: str) -> None:
    """Set the address of a service, and the region that one of AWS's own tells; those need no address here."""
    value = draft.given(name)
    if value is None:
        return
    region = _REGION_IN_HOST.search(value)
    if _AWS_HOST.fullmatch(value):
        if region and "region" not in draft.data.get("source", {}):
            draft.put(region[1], "source", "region", key=name)
        return
    draft.put(value if "://" in value else f"https://{value}", *path, key=name)


def refuse_integration(draft: Draft) -> None:
    """Refuse Confluent Cloud's way to assume a role, which only works there."""
    if draft.given("provider.integration.id") or draft.given("authentication.method") == "IAM Roles":
        key = "provider.integration.id" if draft.given("provider.integration.id") else "authentication.method"
        draft.problem(key, "names a role of Confluent Cloud's, which cannot be assumed from elsewhere", _ROLE_HINT)
