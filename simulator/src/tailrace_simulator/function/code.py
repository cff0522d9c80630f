"""A function's code: where it lies, which handler, and what it may import.

Source: https://docs.aws.amazon.com/lambda/latest/dg/python-package.html and python-handler.html
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tailrace_simulator.errors import InputError, SimulatorError

RUNTIME: Final = "awslambdaric"
_IN_THE_RUNTIME: Final = (RUNTIME, "boto3")
"""What Lambda's Python runtime brings, each with what it needs."""


@dataclass(frozen=True)
class Code:
    """What a sandbox runs: `handler` as Lambda writes it, `module.function`."""

    task_root: Path
    handler: str
    runtime_dir: Path | None
    """What the function may import beside its package and the standard library; None: all that this Python has."""


def load_code(handler: str, package: Path | None, folder: Path) -> Code:
    """Prepare a handler, `module:function` or `module.function`, from a package (zip or folder) or from here.

    A package sees nothing of this Python's own packages, but what Lambda's runtime brings; `folder` is where it is
    unpacked. Raises `InputError` for a package or a handler that is none, `SimulatorError` when the runtime is missing.
    """
    if not re.fullmatch(r"[A-Za-z_][\w./]*[:.][A-Za-z_]\w*", handler):
        raise InputError(f"{handler!r} is no handler", hint="name it module:function")
    if find_spec(RUNTIME) is None:
        raise SimulatorError(
            f"{RUNTIME}, AWS's runtime client, is not installed", hint="pip install 'tailrace-simulator[lambda]'"
        )
    dotted = handler.replace(":", ".")
    if package is None:
        return Code(Path.cwd(), dotted, None)
    if package.is_dir():
        task_root = package.resolve()
    else:
        task_root = folder / "task"
        _unpack(package, task_root)
    return Code(task_root, dotted, _link_runtime(folder / "runtime"))


def _unpack(package: Path, task_root: Path) -> None:
    try:
        with zipfile.ZipFile(package) as archive:
            archive.extractall(task_root)
    except OSError as error:
        raise InputError(f"{package}: it cannot be read: {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise InputError(f"{package}: it is no zip file") from error


def _link_runtime(folder: Path) -> Path:
    """Fill a folder with links to what Lambda's runtime brings."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted, known = list(_IN_THE_RUNTIME), set()
    while wanted:
        name = wanted.pop()
        known.add(name)
        distribution = metadata.distribution(name)
        for top in {Path(file.parts[0]) for file in distribution.files or () if file.parts[0] != ".."}:
            if not (link := folder / top).exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))
        needed = (each for each in distribution.requires or () if "extra ==" not in each)
        wanted += [found for each in needed if (found := re.split(r"[^\w.-]", each)[0]) not in known]
    return folder
