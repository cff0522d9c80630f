"""Tailrace: change data capture from Amazon DynamoDB into Apache Kafka.

`tailrace.open("pipeline.yaml")` returns a `Pipeline`, whose methods do what the commands do (docs/python.md). What is
listed in `__all__` is public; it is loaded when it is first used, so that `import tailrace` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tailrace._version import __version__

if TYPE_CHECKING:
    from tailrace.config import FileErrors
    from tailrace.core.redrive import Selection
    from tailrace.errors import (
        FileError,
        FormatVersionError,
        StalledError,
        TailraceError,
        UnderSwitchError,
        UnreachableError,
        WorldError,
    )
    from tailrace.operations.accept_gap import Gaps
    from tailrace.operations.export import ExportReport
    from tailrace.operations.plan import Plan
    from tailrace.operations.progress import Progress
    from tailrace.operations.replay import Replayed
    from tailrace.operations.republisher import Report
    from tailrace.operations.rescale import Rescaled
    from tailrace.operations.sample import Tried
    from tailrace.operations.snapshot import OrderedSnapshot, SnapshotDraft, StartedSnapshot
    from tailrace.operations.snapshot_status import SnapshotsStatus
    from tailrace.operations.status import Status
    from tailrace.operations.switch import Switched
    from tailrace.operations.tail import Tailed, Wanted
    from tailrace.operations.verify import Verified
    from tailrace.pipeline import Pipeline, open, open_running  # noqa: A004 - `tailrace.open`
    from tailrace.remedy import Remedy

__all__ = [
    "ExportReport",
    "FileError",
    "FileErrors",
    "FormatVersionError",
    "Gaps",
    "OrderedSnapshot",
    "Pipeline",
    "Plan",
    "Progress",
    "Remedy",
    "Replayed",
    "Report",
    "Rescaled",
    "Selection",
    "SnapshotDraft",
    "SnapshotsStatus",
    "StalledError",
    "StartedSnapshot",
    "Status",
    "Switched",
    "Tailed",
    "TailraceError",
    "Tried",
    "UnderSwitchError",
    "UnreachableError",
    "Verified",
    "Wanted",
    "WorldError",
    "__version__",
    "open",
    "open_running",
]

_HOMES = {
    "tailrace.config": ("FileErrors",),
    "tailrace.core.redrive": ("Selection",),
    "tailrace.errors": (
        "FileError",
        "FormatVersionError",
        "StalledError",
        "TailraceError",
        "UnderSwitchError",
        "UnreachableError",
        "WorldError",
    ),
    "tailrace.operations.accept_gap": ("Gaps",),
    "tailrace.operations.export": ("ExportReport",),
    "tailrace.operations.plan": ("Plan",),
    "tailrace.operations.progress": ("Progress",),
    "tailrace.operations.replay": ("Replayed",),
    "tailrace.operations.republisher": ("Report",),
    "tailrace.operations.rescale": ("Rescaled",),
    "tailrace.operations.sample": ("Tried",),
    "tailrace.operations.snapshot": ("OrderedSnapshot", "SnapshotDraft", "StartedSnapshot"),
    "tailrace.operations.snapshot_status": ("SnapshotsStatus",),
    "tailrace.operations.status": ("Status",),
    "tailrace.operations.switch": ("Switched",),
    "tailrace.operations.tail": ("Tailed", "Wanted"),
    "tailrace.operations.verify": ("Verified",),
    "tailrace.pipeline": ("Pipeline", "open", "open_running"),
    "tailrace.remedy": ("Remedy",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tailrace' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
