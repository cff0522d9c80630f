"""What a package is built for: one of Lambda's processors and Pythons."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

Architecture = Literal["arm64", "x86_64"]
Python = Literal["3.12", "3.13", "3.14"]
"""Lambda's Pythons on Amazon Linux 2023. Those before have a glibc that confluent-kafka is too new for.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
"""
PYTHONS: Final[tuple[Python, ...]] = get_args(Python)
DEFAULT_PYTHON: Final[Python] = "3.13"
"""The newest that Tailrace is tested with."""

_GLIBC_MINOR: Final = 34
"""Amazon Linux 2023 has glibc 2.34."""
_MANYLINUX2014_MINOR: Final = 17
_MACHINES: Final[dict[Architecture, str]] = {"arm64": "aarch64", "x86_64": "x86_64"}


class Target(msgspec.Struct, frozen=True):
    """A processor and a Python of Lambda."""

    architecture: Architecture
    python: Python = DEFAULT_PYTHON

    @property
    def platforms(self) -> list[str]:
        """The platform tags of the wheels that run there, newest first."""
        machine = _MACHINES[self.architecture]
        minors = range(_GLIBC_MINOR, _MANYLINUX2014_MINOR - 1, -1)
        return [*(f"manylinux_2_{minor}_{machine}" for minor in minors), f"manylinux2014_{machine}"]
