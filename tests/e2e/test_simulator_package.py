"""The simulator as it is published: it holds what it needs, goes with Tailrace's version, and runs without Tailrace."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tailrace import __version__

ROOT = Path(__file__).parents[2]
SIMULATOR = ROOT / "simulator"
PROJECT = tomllib.loads((SIMULATOR / "pyproject.toml").read_text())["project"]

_PROGRAM = """
import sys
import tailrace_simulator
from tailrace_simulator.event_source_runner import Runner
from tailrace_simulator.function import Function
with tailrace_simulator.SimulatedDynamoDB() as simulated:
    simulated.act("advance", seconds=1)
print(tailrace_simulator.__file__, tailrace_simulator.__version__, *sorted(sys.modules))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=SIMULATOR, capture_output=True, check=True)
    (wheel,) = folder.iterdir()
    return wheel


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "simulator/src"]
    kept = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    about = f"tailrace_simulator-{__version__}.dist-info/"
    with zipfile.ZipFile(wheel) as opened:
        files = set(opened.namelist())
    assert {name for name in files if not name.startswith(about)} == {
        name.removeprefix("simulator/src/") for name in kept.splitlines()
    }
    assert {"tailrace_simulator/py.typed", f"{about}licenses/LICENSE"} <= files


def test_it_goes_with_this_version_of_tailrace_and_only_with_it() -> None:
    assert PROJECT["version"] == __version__
    wanted = [line for line in metadata.requires("tailrace") or () if line.startswith("tailrace-simulator")]
    assert sorted(wanted) == [
        f"tailrace-simulator=={__version__}; extra == 'simulator'",
        f"tailrace-simulator[lambda]=={__version__}; extra == 'lambda'",
    ]


def test_it_runs_where_it_is_installed_without_tailrace(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies come from this environment: nothing is fetched."""
    venv.create(tmp_path, symlinks=True)
    (own,) = tmp_path.glob("lib/python*/site-packages")
    python = tmp_path / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--disable-pip-version-check", str(wheel)], check=True)
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    command = [str(python), "-c", _PROGRAM]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    file, version, *modules = ended.stdout.split()
    assert file.startswith(str(own))
    assert version == __version__
    assert not [module for module in modules if module.split(".")[0] == "tailrace"]
