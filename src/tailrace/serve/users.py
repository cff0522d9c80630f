"""Who may use the API: the file of `--auth`, with users, their roles, and the server's certificates."""

from __future__ import annotations

import base64
import binascii
import hmac
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from tailrace.config.document import read
from tailrace.errors import FileError

Role = Literal["viewer", "operator"]

_READS: Final = frozenset(["GET", "HEAD", "OPTIONS"])


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class User(_Part):
    """A user: known by a password, by a token, or by the name in a client certificate."""

    name: Annotated[str, Field(min_length=1)]
    role: Role
    password: SecretStr | None = None
    token: SecretStr | None = None
    certificate: str | None = None
    """Common name of the certificate."""


class Tls(_Part):
    """Paths of PEM files."""

    certificate: str
    key: str
    client_ca: str | None = None
    """Authorities of client certificates; with it, a client may log in by one."""


class Auth(_Part):
    """The file of `--auth`."""

    users: Annotated[tuple[User, ...], Field(min_length=1)]
    tls: Tls | None = None

    def user_of(self, authorization: str | None, common_name: str | None) -> User | None:
        """Return who a request is from, by its `Authorization` header or its certificate; None: nobody who is known."""
        if common_name is not None:
            return next((each for each in self.users if each.certificate == common_name), None)
        scheme, _, given = (authorization or "").partition(" ")
        match scheme.lower():
            case "basic":
                return self._by_password(given.strip())
            case "bearer":
                return next((each for each in self.users if _is(each.token, given.strip())), None)
        return None

    def _by_password(self, given: str) -> User | None:
        try:
            name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return next((each for each in self.users if each.name == name and _is(each.password, password)), None)


def _is(secret: SecretStr | None, given: str) -> bool:
    return secret is not None and hmac.compare_digest(secret.get_secret_value().encode(), given.encode())


def may(role: Role, method: str, path: str) -> bool:
    """Return whether a role may do a request: a viewer may look, and validate configurations."""
    return role == "operator" or method in _READS or path.endswith("/config/validate")


def load_auth(path: Path) -> Auth:
    """Load the file. References such as `${env:NAME}` are filled in. Raises `FileError`."""
    document = read(path)
    if document.problems:
        raise next(iter(document.problems.values()))
    try:
        auth = Auth.model_validate(document.data)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, detail["loc"]))
        hint = 'write users: [{name: olga, role: operator, password: "${env:OLGA}"}]'
        raise FileError(detail["msg"].lower(), file=str(path), path=where, hint=hint) from None
    for index, user in enumerate(auth.users):
        if user.password is None and user.token is None and user.certificate is None:
            hint = "give it a password, a token, or the common name of a certificate"
            raise FileError("cannot log in", file=str(path), path=f"users[{index}]", hint=hint)
    return auth
