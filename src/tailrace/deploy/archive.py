"""Zip files that are the same bytes whenever the same files go into them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip file can tell."""
_UNIX: Final = 3
_FILE_MODE: Final = 0o100644


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their names in the archive: sorted, without times, owners and other traces of this machine."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = _UNIX
            entry.external_attr = _FILE_MODE << 16
            archive.writestr(entry, files[name])
