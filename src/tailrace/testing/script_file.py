"""The file of faults that `tailrace simulate --faults` takes: YAML, or JSON, which is YAML too."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from tailrace.errors import FileError
from tailrace.testing.actions import Script


def load_script(file: Path) -> Script:
    """Read and check a file. Raises `FileError`."""
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise FileError(f"it cannot be read: {error.strerror}", file=str(file)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(f"it is not YAML: {' '.join(str(error).split())}", file=str(file)) from error
    try:
        return msgspec.convert(content if content is not None else {}, Script)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise FileError(
            message,
            file=str(file),
            path=path.strip("`.").replace("[...]", ""),
            hint="docs/simulator.md shows its shape",
        ) from error
