"""The native transcoder is used where it is installed and fits, and `TAILRACE_NATIVE` has the last word."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.cli import CommandLine
from tailrace import __version__
from tailrace.config import from_flags
from tailrace.core.ports import TableFacts
from tailrace.core.shard import ShardRef
from tailrace.errors import WorldError
from tailrace.sources.dynamodb.export_lines import decode_lines
from tailrace.sources.dynamodb.rows import RowsOf, decode_scan
from tailrace.sources.dynamodb.stream_record import decode_page
from tailrace.wiring.transcoder import choose
from tailrace.worker.metrics import Metrics
from tailrace.worker.vitals import Vitals

ROOT = Path(__file__).parents[3]
PIPELINE = from_flags(["orders"], "localhost:9092", endpoint_url=None, region="eu-west-1", name="shop").pipeline


SHARD = ShardRef("arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/1", "shardId-1")


class NativeCalledError(Exception):
    """The native transcoder was asked."""


class Module(SimpleNamespace):
    """Stands for the installed package."""

    makes = "debezium"

    def Transcoder(self, *, format: str, **_options: str) -> SimpleNamespace:  # noqa: A002, N802 - it stands for a class
        if format != self.makes:
            raise ValueError(format)

        def page(*_what: object, **_fields: object) -> None:
            raise NativeCalledError

        return SimpleNamespace(page=page, scan=page, export_lines=page)


OF_ORDERS = {"orders": object()}.get


def rows_of(table: str) -> RowsOf:
    arn = f"arn:aws:dynamodb:eu-west-1:123456789012:table/{table}"
    return RowsOf(TableFacts(table, arn, {"id": "S"}, item_count=1, size_bytes=1, read_capacity=None), "true", 0)


def no_transformation(_table: str) -> None:
    """No table has one."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a package of some version be installed; None: no package."""

    def install(version: str | None) -> None:
        monkeypatch.setitem(sys.modules, "tailrace_native", version and Module(__version__=version))

    return install


@pytest.mark.parametrize("setting", [{}, {"TAILRACE_NATIVE": ""}, {"TAILRACE_NATIVE": "on"}])
def test_where_it_is_installed_it_is_used(installed: Any, setting: dict[str, str]) -> None:
    installed(__version__)
    transcoder = choose(setting)
    assert (transcoder.name, transcoder.why) == ("native", f"tailrace-native {__version__} is installed")
    assert transcoder.decoder(PIPELINE, no_transformation) is not decode_page


def test_where_it_is_not_installed_python_does_it_all(installed: Any) -> None:
    installed(None)
    transcoder = choose({})
    assert (transcoder.name, transcoder.why) == ("pure", "tailrace-native is not installed")
    assert transcoder.decoder(PIPELINE, no_transformation) is decode_page


def test_a_format_that_it_does_not_make_is_made_in_python(installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(__version__)
    monkeypatch.setattr(Module, "makes", "another")
    assert choose({}).decoder(PIPELINE, no_transformation) is decode_page


def test_a_table_that_is_transformed_is_decoded_in_python(installed: Any) -> None:
    installed(__version__)
    decode = choose({}).decoder(PIPELINE, {"orders": "a transformation"}.get)
    page = decode(b'{"Records":[]}', shard=SHARD, table="orders", region="eu-west-1")
    assert page.records == []
    with pytest.raises(NativeCalledError):
        decode(b'{"Records":[]}', shard=SHARD, table="users", region="eu-west-1")


def test_off_is_off(installed: Any) -> None:
    installed(__version__)
    assert choose({"TAILRACE_NATIVE": "off"})[:2] == ("pure", "TAILRACE_NATIVE is off")


def test_another_version_might_make_other_bytes(installed: Any) -> None:
    installed("9.9.9")
    assert choose({})[:2] == ("pure", f"tailrace-native 9.9.9 does not go with tailrace {__version__}")
    with pytest.raises(WorldError, match=r"TAILRACE_NATIVE is on, but tailrace-native 9\.9\.9 .*; pip install"):
        choose({"TAILRACE_NATIVE": "on"})


def test_one_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tailrace_native.py").write_text("raise ImportError('GLIBC_2.99 not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tailrace_native", raising=False)
    assert choose({})[:2] == ("pure", "tailrace-native cannot be loaded: GLIBC_2.99 not found")
    with pytest.raises(WorldError, match="TAILRACE_NATIVE is on, but"):
        choose({"TAILRACE_NATIVE": "on"})


def test_another_word_is_refused() -> None:
    with pytest.raises(WorldError, match="TAILRACE_NATIVE is 'yes'; set it to on or off"):
        choose({"TAILRACE_NATIVE": "yes"})


def test_the_command_and_the_metric_say_which_is_in_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAILRACE_NATIVE", "off")
    code, out, _ = CommandLine(capsys)("version")
    assert (code, out.splitlines()[-1]) == (0, "transcoder  pure: TAILRACE_NATIVE is off")
    metrics = Metrics("shop", "shop.dead-letters", transcoder="pure")
    metrics.watch(list, lambda: 0, Vitals(), lambda: 0)
    assert metrics.registry.get_sample_value(
        "tailrace_info", {"version": __version__, "pipeline": "shop", "transcoder": "pure"}
    )


def test_both_packages_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    native = tomllib.loads((ROOT / "native" / "pyproject.toml").read_text())["project"]
    crates = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text())["workspace"]["package"]
    assert project["version"] == native["version"] == crates["version"] == __version__
    assert project["optional-dependencies"]["native"] == [f"tailrace-native=={__version__}"]


def test_rows_of_a_table_with_a_transformation_are_decoded_in_python(installed: Any) -> None:
    installed(__version__)
    transcoder = choose({})
    scan, lines = transcoder.scan_decoder(PIPELINE, OF_ORDERS), transcoder.lines_decoder(PIPELINE, OF_ORDERS)
    assert scan(b'{"Items":[{"id":{"S":"a"}}]}', rows_of("orders")).records[0].change
    assert lines([b'{"Item":{"id":{"S":"a"}}}'], rows_of("orders"))[0].change
    for decode in (lambda: scan(b"{}", rows_of("users")), lambda: lines([b"{}"], rows_of("users"))):
        with pytest.raises(NativeCalledError):
            decode()


def test_without_the_package_rows_are_decoded_in_python(installed: Any) -> None:
    installed(None)
    assert choose({}).scan_decoder(PIPELINE, no_transformation) is decode_scan
    assert choose({}).lines_decoder(PIPELINE, no_transformation) is decode_lines
