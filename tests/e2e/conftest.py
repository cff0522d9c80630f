"""The native package's build, once for all tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from support.native_package import NATIVE, run
from tailrace import __version__


@pytest.fixture(scope="session")
def maturin() -> Path:
    """The build tool, where there are also Rust and its crates, or a way to them: as the Makefile looks for it."""
    fetch = ["cargo", "fetch", "--quiet", "--locked", "--manifest-path", str(NATIVE / "Cargo.toml")]
    if shutil.which("cargo") is None or subprocess.run(fetch, capture_output=True, check=False).returncode != 0:
        pytest.skip("there is no Rust toolchain, or its crates cannot be fetched")
    return Path(sys.executable).parent / "maturin"


@pytest.fixture(scope="session")
def native_wheel(maturin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is made of the sdist alone, in a folder of its own."""
    folder = tmp_path_factory.mktemp("native")
    run(maturin, "sdist", "--out", folder)
    with tarfile.open(folder / f"tailrace_native-{__version__}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    source = folder / f"tailrace_native-{__version__}"
    assert {"Cargo.lock", "LICENSE", "README.md", "tailrace_native.pyi"} <= {file.name for file in source.rglob("*")}
    # The crates that are built already are taken from there: only the source must be the sdist's.
    build: list[str | Path] = ["build", "--release", "--interpreter", sys.executable, "--target-dir", NATIVE / "target"]
    run(maturin, *build, "--out", folder / "wheels", folder=source)
    (wheel,) = (folder / "wheels").glob("*.whl")
    return wheel
