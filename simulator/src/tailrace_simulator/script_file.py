"""The file of faults that `tailrace simulate --faults` takes: YAML, or JSON, which is YAML too."""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from tailrace_simulator.actions import Script
from tailrace_simulator.errors import InputError


def load_script(file: Path) -> Script:
    """Read and check a file. Raises `InputError`."""
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise InputError(f"{file}: it cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: it is not YAML: {' '.join(str(error).split())}") from error
    try:
        return msgspec.convert(content if content is not None else {}, Script)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        where = ": ".join(part for part in (str(file), path.strip("`.").replace("[...]", "")) if part)
        raise InputError(f"{where}: {message}", hint="docs/simulator.md shows its shape") from error
