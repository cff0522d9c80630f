"""The native package as it is published: its own tests pass, and a wheel is made of the sdist alone."""

from __future__ import annotations

import re
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from support.native_package import NATIVE, run
from tailrace import __version__


@pytest.mark.usefixtures("maturin")
def test_the_tests_in_rust_pass() -> None:
    passed = re.findall(
        r"^test result: ok\. (\d+) passed", run("cargo", "test", "--locked", "--workspace"), re.MULTILINE
    )
    assert sum(map(int, passed)) > 10


def test_a_wheel_is_made_of_the_sdist_alone(native_wheel: Path, tmp_path: Path) -> None:
    assert f"tailrace_native-{__version__}-cp311-abi3-" in native_wheel.name
    with zipfile.ZipFile(native_wheel) as opened:
        opened.extractall(tmp_path / "installed")
        files = set(opened.namelist())
    module = f"tailrace_native/tailrace_native.abi3{sysconfig.get_config_var('SHLIB_SUFFIX')}"
    assert {"tailrace_native/__init__.pyi", "tailrace_native/py.typed", module} <= files
    assert any(name.endswith("licenses/LICENSE") for name in files)
    program = "import tailrace_native; print(tailrace_native.__file__, tailrace_native.__version__)"
    file, version = run(sys.executable, "-c", program, folder=tmp_path / "installed").split()
    assert Path(file).is_relative_to(tmp_path)
    assert version == __version__


def test_every_crate_comes_from_the_public_index() -> None:
    sources = set(re.findall(r'^source = "(.+)"$', (NATIVE / "Cargo.lock").read_text(), re.MULTILINE))
    assert sources == {"registry+https://github.com/rust-lang/crates.io-index"}
