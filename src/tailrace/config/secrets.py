"""Which values are secret, and how they are kept out of everything that is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "***"

_SECRET_WORD = re.compile(
    r"password|passphrase|passwd|secret|token|pem|jaas|credential|private|user\.info|(^|[._-])key([._-]|$)"
    r"|^sasl\.oauthbearer\.(config|extensions)$|^external_id$",
    re.IGNORECASE,
)
_OF_CONNECT = re.compile(r"(key|value|header)\.converter|transforms|predicates")
"""Names of Connect's properties begin so, in which `key` is a part of a record."""
_SECRET_OF_CONNECT = re.compile(r"password|secret|token|credential|jaas|user\.info", re.IGNORECASE)
_HARMLESS_END = re.compile(
    r"([._-](location|url|file|id|type|method|name|class|command|source)|\.ms|\.bytes)$", re.IGNORECASE
)
_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*(?:(?<!abfs)(?<!abfss)://|://(?=[^\s/@]*:)))([^\s/]*)@")
"""In `abfss://container@account` a container stands there."""
_SETTING = re.compile(r"=\s*[\"']?([^\s,;\"']+)")
_SHORT = 4
"""A part of a secret that is shorter than this is not secret by itself."""
_WORD_LIKE = 8
"""Secrets shorter than this are blotted out only where they stand alone, not inside a word, a file's name or a path:
the password `adm` must leave `adm.yaml` and `admin` readable."""


def is_secret(key: str) -> bool:
    """Return whether a key's name says that it holds a secret."""
    if _OF_CONNECT.match(key):
        return bool(_SECRET_OF_CONNECT.search(key) and not _HARMLESS_END.search(key))
    return key in {"external_id", "sasl.aws.external.id"} or bool(
        _SECRET_WORD.search(key) and not _HARMLESS_END.search(key)
    )


def is_credential(property_name: str) -> bool:
    """Return whether a Kafka property has to do with who one is: what it takes from elsewhere is then secret."""
    return is_secret(property_name) or bool(
        re.match(r"(sasl|ssl)[._]", property_name)
        and not re.search(r"mechanisms?$|location$|url$|method$|\.ms$|algorithm$|suites$|list$", property_name)
    )


def secrets_in(text: str) -> set[str]:
    """Return the secrets inside a text that is none as a whole: what stands before the host of a URL."""
    found = {info for _, info in _USER_INFO.findall(text)}
    return found | {info.partition(":")[2] for info in found}


def parts_of(secret: str) -> set[str]:
    """Return what each setting of a secret like `principal=me password=…` is set to."""
    return {part for part in _SETTING.findall(secret) if len(part) >= _SHORT}


def without_user_info(text: str) -> str:
    """Blot out the user and password of every URL."""
    return _USER_INFO.sub(rf"\1{MASK}@", text)


class Secrets:
    """The secret values of a pipeline; `redact` takes them out of a text."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        spellings = {spelling for value in values for spelling in _spellings(value)}
        self._pattern = re.compile("|".join(map(_searched, sorted(spellings, key=len, reverse=True))) or r"(?!)")
        self._count = len(spellings)

    def redact(self, text: str) -> str:
        """Replace every secret, and the user and password of every URL, by `***`."""
        return without_user_info(self._pattern.sub(MASK, text))

    def __repr__(self) -> str:
        return f"Secrets({self._count})"


def _spellings(value: str) -> set[str]:
    """Return a secret as it may be met: as it is, escaped for JSON, Python or a URL, and each line of a long one."""
    lines = [line.strip() for line in value.splitlines() if len(line.strip()) >= 2 * _SHORT]
    whole = [value, value.strip(), json.dumps(value)[1:-1], repr(value)[1:-1], quote(value, safe="")]
    return {spelling for spelling in (*whole, *lines) if spelling}


def _searched(spelling: str) -> str:
    escaped = re.escape(spelling)
    return escaped if len(spelling) >= _WORD_LIKE else rf"(?<![\w./-]){escaped}(?![\w/-]|\.\w)"
