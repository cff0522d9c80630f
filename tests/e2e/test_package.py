"""The package as it is published: it holds what it needs, says what it is, and runs where it is installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = folder.iterdir()
    return wheel


@pytest.fixture(scope="module")
def files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def file_of_metadata(files: dict[str, bytes], name: str) -> bytes:
    return files[f"tailrace-{PROJECT['version']}.dist-info/{name}"]


@pytest.fixture(scope="module")
def metadata(files: dict[str, bytes]) -> Message:
    return message_from_string(file_of_metadata(files, "METADATA").decode())


def test_the_wheel_holds_the_package_whole_and_nothing_else(files: dict[str, bytes]) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src"]
    kept = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    packaged = {name for name in files if not name.startswith(f"tailrace-{PROJECT['version']}.dist-info/")}
    assert packaged == {name.removeprefix("src/") for name in kept.splitlines()}
    assert {"tailrace/py.typed", "tailrace/local/pins.json"} <= packaged


def test_the_metadata_name_the_command_the_extras_and_the_licence(files: dict[str, bytes], metadata: Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("tailrace", PROJECT["version"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert file_of_metadata(files, "licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert metadata.get_all("Provides-Extra") == list(PROJECT["optional-dependencies"])
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert file_of_metadata(files, "entry_points.txt").decode().split() == [
        "[console_scripts]", "tailrace", "=", "tailrace.cli.entry:main",
    ]  # fmt: skip


def test_the_package_page_links_to_the_project(metadata: Message) -> None:
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL") or ())
    assert urls == PROJECT["urls"]


def test_the_readme_is_the_description(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()


def test_it_runs_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """Its dependencies come from this environment: nothing is fetched."""
    venv.create(tmp_path, symlinks=True)
    (own,) = tmp_path.glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", str(tmp_path / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)], check=True)
    # After its own: what is installed is found before what is developed here.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python, tailrace = tmp_path / "bin" / "python", tmp_path / "bin" / "tailrace"

    def output(*command: str | Path) -> str:
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert output(python, "-c", "import tailrace; print(tailrace.__file__)").startswith(str(own))
    assert output(tailrace, "--version") == f"tailrace {PROJECT['version']}\n"
    assert output(python, "-m", "tailrace", "--version") == f"tailrace {PROJECT['version']}\n"
    assert '"$schema"' in output(tailrace, "schema")
