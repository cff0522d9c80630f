"""Tokens of Amazon MSK's IAM access control (`AWS_MSK_IAM`): a URL that AWS's own library signs.

Source: https://github.com/aws/aws-msk-iam-sasl-signer-python
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from botocore.credentials import CredentialProvider, ReadOnlyCredentials

from tailrace.aws.errors import AwsKeys
from tailrace.aws.session import AwsSession, AwsSettings
from tailrace.core.ports import ReadError
from tailrace.errors import WorldError
from tailrace.extras import brought_by
from tailrace.kafka.tokens import Token

MECHANISM: Final = "AWS_MSK_IAM"
EXTRA: Final = "msk-iam"

REGION: Final = "sasl.aws.region"
PROFILE: Final = "sasl.aws.profile"
ROLE_ARN: Final = "sasl.aws.role.arn"
EXTERNAL_ID: Final = "sasl.aws.external.id"
KEYS: Final = (REGION, PROFILE, ROLE_ARN, EXTERNAL_ID)

_BROKER: Final = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?(?::|,|$)")
"""Where a broker's name has its region: b-1.shop.abcdef.c2.kafka.eu-west-1.amazonaws.com."""


class _Signer(CredentialProvider):  # type: ignore[misc]  # botocore has no types
    """Hands AWS's library the credentials of a session, which renew themselves."""

    METHOD = "tailrace"

    def __init__(self, session: AwsSession) -> None:
        super().__init__()
        self._session = session

    def load(self) -> ReadOnlyCredentials:
        """Return the credentials of this moment. Raises ReadError."""
        return self._session.credentials()


class TokenSigner:
    """Signs tokens for one login. Nothing is sent: the broker asks AWS who has signed."""

    def __init__(self, user: Mapping[str, str]) -> None:
        self._user = user
        self._session: AwsSession | None = None

    def fetch(self) -> Token:
        """Return a new token, which holds for 15 minutes. Raises WorldError when there are no credentials."""
        with brought_by(EXTRA):
            from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415  # an extra
        if self._session is None:
            self._session = AwsSession(settings_of(self._user))
        sign = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider
        try:
            text, expires_ms = sign(self._session.region, _Signer(self._session))
        except ReadError as error:
            raise WorldError(error.message, hint=error.hint) from error
        return Token(text, expires_ms / 1000)


def settings_of(user: Mapping[str, str]) -> AwsSettings:
    """Return whose credentials sign, and for which region: by default that in the brokers' names."""
    in_names = _BROKER.search(user.get("bootstrap.servers", ""))
    return AwsSettings(
        region=user.get(REGION) or (in_names[1] if in_names else None),
        profile=user.get(PROFILE),
        role_arn=user.get(ROLE_ARN),
        external_id=user.get(EXTERNAL_ID),
        keys=AwsKeys(*(f"kafka.{key}" for key in KEYS)),
    )
