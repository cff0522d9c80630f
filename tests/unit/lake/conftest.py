"""The kinds of tables with commits of their own, and the end of the sinks that tests open on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.lake_tables import CURRENT_KINDS, KINDS, CurrentKind, Kind, close_sinks


@pytest.fixture(params=KINDS, ids=lambda kind: type(kind).__name__)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return each kind in turn."""
    found: Kind = request.param
    return found


@pytest.fixture(params=CURRENT_KINDS, ids=lambda kind: type(kind).__name__)
def current_kind(request: pytest.FixtureRequest) -> CurrentKind:
    """Return each kind of present states in turn."""
    found: CurrentKind = request.param
    return found


@pytest.fixture(autouse=True)
def _sinks_closed() -> Iterator[None]:
    yield
    close_sinks()
