"""Who asks AWS, and where: credentials that renew themselves, the region, the endpoints.

Sources: https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html (the chain) and
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
)
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from botocore.session import Session

from tailrace.aws.errors import AwsKeys, no_credentials, unusable_credentials
from tailrace.core.ports import ReadError
from tailrace.errors import WorldError

_ROLE_SESSION_NAME: Final = "tailrace"
_STAND_IN_REGION: Final = "us-east-1"
"""What requests to an endpoint of one's own are signed for when nobody names a region: it does not matter there."""


class _OneSentence(logging.Filter):
    """Says in a sentence what botocore logs with a traceback when credentials cannot be renewed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what the caller is told by an error, too: that there are no credentials left."""
        if record.exc_info and isinstance(record.exc_info[1], Exception):
            is_told_anyway = "mandatory" in record.getMessage()
            record.msg = "the AWS credentials of this moment still hold, and could not be renewed: %s"
            record.args = (str(no_credentials(record.exc_info[1])),)
            record.exc_info = record.exc_text = None
            return not is_told_anyway
        return True


_one_sentence: Final = _OneSentence()


class _Given(CredentialProvider):  # type: ignore[misc]  # botocore has no types
    """Hands botocore's own clients the credentials of an `AwsSession`."""

    METHOD = "tailrace"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        """Return the credentials, which renew themselves."""
        return self._credentials


class AwsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach AWS; what is None is left to the chain (environment, profile, container, instance)."""

    region: str | None = None
    endpoint_url: str | None = None
    """Address of DynamoDB and of its streams, for simulators and private endpoints."""
    profile: str | None = None
    role_arn: str | None = None
    """Role to assume, of this account or another."""
    external_id: str | None = None
    access_key_id: str | None = None
    """Access key to use in place of the chain's credentials, with its secret."""
    secret_access_key: str | None = None
    endpoints: Mapping[str, str] = {}
    """Addresses of single services, by the names that botocore has for them; they win over `endpoint_url`."""
    keys: AwsKeys = AwsKeys()
    """What the pipeline file calls them."""


class AwsSession:
    """An identity of AWS and its region. Safe to use from many threads at once.

    Raises `WorldError` when there is no region, no such profile, no credentials, or the role may not be assumed.
    """

    def __init__(self, settings: AwsSettings) -> None:
        logging.getLogger("botocore.credentials").addFilter(_one_sentence)  # once, however often this is called
        self._endpoint_url = settings.endpoint_url
        self._profile = settings.profile
        self._keys = settings.keys
        self._endpoints = settings.endpoints
        self._session = Session(profile=settings.profile)
        if settings.access_key_id is not None:
            self._session.set_credentials(settings.access_key_id, settings.secret_access_key)
        try:
            self.region = _region(self._session, settings)
            self._credentials = _credentials(self._session, self.region, settings)
            self.credentials()
        except BotoCoreError as error:
            raise WorldError(
                f"AWS cannot be used: {error}", hint=f"check {settings.keys.profile} and the AWS settings"
            ) from error
        except ReadError as error:
            raise WorldError(error.message, hint=error.hint) from error

    def credentials(self) -> ReadOnlyCredentials:
        """Return the credentials of this moment, renewed first if they are about to expire. Raises `ReadError`."""
        try:
            credentials = self._credentials.get_frozen_credentials()
        except Exception as error:  # botocore lets out errors of many families here
            raise no_credentials(error, self._keys) from error
        if not all(_can_be_sent(part) for part in (*credentials[:2], credentials.token or "-")):
            raise unusable_credentials()
        return credentials

    def endpoint(self, service: str) -> str:
        """Return the address of a service, by AWS's own rules (`dynamodb`, `dynamodbstreams`). Raises `WorldError`."""
        session = self._other_session()  # a session keeps 10 MB of what it has read of the service and the regions
        try:
            address = self._endpoints.get(service, self._endpoint_url)
            client = session.create_client(service, region_name=self.region, endpoint_url=address)
        except (BotoCoreError, ValueError) as error:
            raise WorldError(
                f"the address of {service} in region {self.region} is not known: {error}",
                hint="check source.region and source.endpoint_url",
            ) from error
        found: str = client.meta.endpoint_url
        client.close()
        return found

    def client(self, service: str, config: Config) -> Any:
        """Make botocore's own client of a service that is not DynamoDB, at its usual address or AWS_ENDPOINT_URL_….

        The settings may name an address of its own.

        Raises `WorldError`.
        """
        session = self._other_session()
        try:
            return session.create_client(
                service, region_name=self.region, config=config, endpoint_url=self._endpoints.get(service)
            )
        except (BotoCoreError, ValueError) as error:
            raise WorldError(f"{service} cannot be used: {error}", hint="check the AWS settings") from error

    def _other_session(self) -> Session:
        """Make a session with the same credentials."""
        session = Session(profile=self._profile)
        session.register_component("credential_provider", CredentialResolver([_Given(self._credentials)]))
        return session

    def certificates(self) -> str:
        """Return the path of the certificates to trust: AWS_CA_BUNDLE, or those that AWS's own tools trust."""
        path: str = self._session.get_config_variable("ca_bundle") or get_cert_path(verify=True)
        if not Path(path).exists():
            raise WorldError(
                f"the certificates at {path} do not exist", hint="correct AWS_CA_BUNDLE or the AWS profile"
            )
        return path


def _region(session: Session, settings: AwsSettings) -> str:
    """Return the region; AWS_REGION counts last, because botocore's chain leaves it out."""
    region: str | None = settings.region or session.get_config_variable("region") or os.environ.get("AWS_REGION")
    if not region and settings.endpoint_url:
        return _STAND_IN_REGION
    if not region:
        raise WorldError("no AWS region is set", hint=f"set {settings.keys.region}, or AWS_REGION in the environment")
    return region


def _can_be_sent(part: object) -> bool:
    """Return whether a key or token can stand in a header: a secret that was stored with its line end cannot."""
    return isinstance(part, str) and part.isascii() and part.isprintable() and part != "" and " " not in part


def _credentials(session: Session, region: str, settings: AwsSettings) -> Credentials:
    try:
        source = session.get_credentials()
    except BotoCoreError:
        raise
    except Exception as error:  # what a broken answer of a container's or process's provider makes of botocore
        raise no_credentials(error, settings.keys) from error
    if source is None:
        raise WorldError(
            "there are no AWS credentials",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (any values do for DynamoDB Local), "
            f"{settings.keys.profile}, or give this host a role",
        )
    if settings.role_arn is None:
        return source
    arguments = {"RoleSessionName": _ROLE_SESSION_NAME}
    if settings.external_id:
        arguments["ExternalId"] = settings.external_id
    config = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
    fetcher = AssumeRoleCredentialFetcher(
        partial(session.create_client, region_name=region, config=config),
        source,
        settings.role_arn,
        extra_args=arguments,
    )
    return DeferredRefreshableCredentials(fetcher.fetch_credentials, method="assume-role")
