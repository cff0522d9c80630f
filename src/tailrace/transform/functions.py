"""Finds a user's function by its name, `module:function`, once, and says in a sentence when there is none."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from tailrace.transform.change import Function

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"


class FunctionError(Exception):
    """There is no such function; `hint` says how to fix it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def search_in(folder: Path) -> None:
    """Make modules in the folder of the pipeline file importable, after installed ones."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.append(place)


def find(name: str) -> Function:
    """Import the module, if that has not happened, and give the function. Raises `FunctionError`."""
    module_name, _, path = name.partition(":")
    found: object = _import(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            file = getattr(found, "__file__", None) or module_name
            raise FunctionError(f"{file} has no {part}", "correct the name, or define the function there")
        found = getattr(found, part)
    if not callable(found):
        raise FunctionError(
            f"{name} is a {type(found).__name__}, not a function", "name a function that takes a Change and gives one"
        )
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise FunctionError(
                f"there is no module {error.name}", "put it beside the pipeline file, or install it"
            ) from None
        raise FunctionError(f"importing {name} failed: there is no module {error.name}", "install it") from None
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if (frames := _frames(error)) else ""
        raise FunctionError(
            f"importing {name} failed: {type(error).__name__}{f': {text}' if text else ''}",
            f"fix it at {place}" if place else "fix the module",
        ) from None


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of the module's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
