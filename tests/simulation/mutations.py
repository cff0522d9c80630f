"""Planted faults in the protocol, each of which the simulation must find."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

MUTATIONS: dict[str, Callable[[], AbstractContextManager[None]]] = {}
