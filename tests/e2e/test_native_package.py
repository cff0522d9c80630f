"""The native package as it is published: its own tests pass, and a wheel is made of the sdist alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tailrace import __version__

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "native"


@pytest.fixture(scope="module")
def maturin() -> Path:
    """The build tool, where there are also Rust and its crates, or a way to them: as the Makefile looks for it."""
    fetch = ["cargo", "fetch", "--quiet", "--locked", "--manifest-path", str(NATIVE / "Cargo.toml")]
    if shutil.which("cargo") is None or subprocess.run(fetch, capture_output=True, check=False).returncode != 0:
        pytest.skip("there is no Rust toolchain, or its crates cannot be fetched")
    return Path(sys.executable).parent / "maturin"


def run(*command: str | Path, folder: Path = NATIVE) -> str:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.usefixtures("maturin")
def test_the_tests_in_rust_pass() -> None:
    passed = re.findall(
        r"^test result: ok\. (\d+) passed", run("cargo", "test", "--locked", "--workspace"), re.MULTILINE
    )
    assert sum(map(int, passed)) > 10


def test_a_wheel_is_made_of_the_sdist_alone(maturin: Path, tmp_path: Path) -> None:
    run(maturin, "sdist", "--out", tmp_path)
    with tarfile.open(tmp_path / f"tailrace_native-{__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"tailrace_native-{__version__}"
    assert {"Cargo.lock", "LICENSE", "README.md", "tailrace_native.pyi"} <= {file.name for file in source.rglob("*")}
    # The crates that are built already are taken from there: only the source must be the sdist's.
    build: list[str | Path] = ["build", "--release", "--interpreter", sys.executable, "--target-dir", NATIVE / "target"]
    run(maturin, *build, "--out", tmp_path, folder=source)
    (wheel,) = tmp_path.glob("*.whl")
    assert f"tailrace_native-{__version__}-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as opened:
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
