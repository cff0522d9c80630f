"""The simulator for AWS Lambda, with AWS's own runtime client and a function in processes of their own."""

from __future__ import annotations

import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.waiting import wait_for
from tailrace_simulator.errors import InputError
from tailrace_simulator.event_source import Answered, Errored, NotInvoked, Outcome, Unknown
from tailrace_simulator.function import Code, Function, load_code

TOY = Path(__file__).parents[1] / "support" / "lambda_functions"


class Toy:
    """The toy function, and what it wrote down."""

    def __init__(self, function: Function, seen: Path) -> None:
        self.function = function
        self._seen = seen

    def invoke(self, **event: Any) -> Outcome:
        return self.function.invoke(msgspec.json.encode(event))

    def answer(self, **event: Any) -> Any:
        outcome = self.invoke(**event)
        assert isinstance(outcome, Answered), outcome
        return msgspec.json.decode(outcome.payload)

    def in_background(self, **event: Any) -> list[Outcome]:
        """Invoke it in a thread; the outcome is in the list when it is there."""
        outcomes: list[Outcome] = []
        threading.Thread(target=lambda: outcomes.append(self.invoke(**event))).start()
        return outcomes

    def seen(self) -> list[Any]:
        return [json.loads(line) for line in self._seen.read_text().splitlines()] if self._seen.exists() else []


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Callable[..., Toy]]:
    """Makes toy functions; ends their processes after the test."""
    with ExitStack() as opened:

        def make(code: Code | None = None, environment: dict[str, str] | None = None, **options: Any) -> Toy:
            code = code or load_code("toy:handler", TOY, tmp_path)
            seen = {"SEEN": str(tmp_path / "seen")}
            function = Function(code, environment=seen | (environment or {}), **options)
            return Toy(opened.enter_context(function), tmp_path / "seen")

        yield make


def test_an_event_reaches_the_function_and_its_answer_comes_back(toy: Callable[..., Toy]) -> None:
    made = toy()
    assert made.answer(Records=[], state={"n": 1}) == {"state": {"n": 1}, "batchItemFailures": []}
    assert made.seen()[0]["event"] == {"Records": [], "state": {"n": 1}}


def test_the_function_sees_what_lambda_shows_it(toy: Callable[..., Toy]) -> None:
    made = toy(name="orders", memory_mb=256, timeout_s=5, region="eu-west-1", environment={"PIPELINE": "shop"})
    told = made.answer(do="tell")
    environment = told["environment"]
    assert {name: environment.get(name) for name in ("AWS_LAMBDA_FUNCTION_NAME", "_HANDLER", "AWS_REGION", "TZ")} == {
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "_HANDLER": "toy.handler",
        "AWS_REGION": "eu-west-1",
        "TZ": ":UTC",
    }
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert environment["LAMBDA_TASK_ROOT"] == told["cwd"] == str(TOY)
    assert environment["PIPELINE"] == "shop"
    assert "HOME" not in environment
    assert 4000 < told["remaining_ms"] <= 5000
    assert (told["arn"], told["memory"]) == (made.function.arn, "256")
    assert told["trace"].startswith(f"Root=1-{told['request_id'][:8]}-")


def test_a_sandbox_is_used_again_and_frozen_in_between(toy: Callable[..., Toy]) -> None:
    made = toy()
    first = made.answer(do="ticks")
    (sandbox,) = made.function.sandboxes
    wait_for("the sandbox is idle", lambda: sandbox.is_idle)
    time.sleep(0.5)  # what would count on, if it were not frozen: nothing else can be waited for
    second = made.answer(do="ticks")
    assert second["pid"] == first["pid"]
    assert second["ticks"] - first["ticks"] < 25
    assert made.function.cold_starts == 1


def test_one_after_another_they_need_one_sandbox(toy: Callable[..., Toy]) -> None:
    made = toy(concurrency=1)
    for _ in range(20):
        made.answer()
    assert made.function.cold_starts == 1


def test_a_function_that_raises_fails_and_its_sandbox_lives_on(toy: Callable[..., Toy]) -> None:
    made = toy()
    outcome = made.invoke(do="raise")
    assert isinstance(outcome, Errored)
    assert (outcome.error_type, outcome.message) == ("ValueError", "as asked")
    wait_for("the sandbox is idle", lambda: made.function.sandboxes[0].is_idle)
    made.answer()
    assert made.function.cold_starts == 1


def test_a_function_that_ends_its_process_fails_and_a_new_sandbox_follows(toy: Callable[..., Toy]) -> None:
    made = toy()
    outcome = made.invoke(do="exit")
    assert isinstance(outcome, Errored)
    assert outcome.error_type == "Runtime.ExitError"
    assert outcome.message.endswith("exit status 3")
    made.answer()
    assert made.function.cold_starts == 2


def test_a_function_whose_time_is_over_is_killed(toy: Callable[..., Toy]) -> None:
    made = toy(timeout_s=2)
    began_s = time.monotonic()
    outcome = made.invoke(do="sleep", seconds=60)
    assert isinstance(outcome, Errored)
    assert outcome.error_type == "Sandbox.Timedout"
    assert outcome.message.endswith("Task timed out after 2.00 seconds")
    assert time.monotonic() - began_s < 10
    assert made.function.sandboxes == []
    made.answer()
    assert len({line["pid"] for line in made.seen()}) == 2


def test_a_sandbox_that_is_killed_in_the_middle_fails(toy: Callable[..., Toy]) -> None:
    made = toy(timeout_s=30)
    outcomes = made.in_background(do="sleep", seconds=60)
    wait_for("it runs", lambda: len(made.seen()) == 1)
    made.function.sandboxes[0].kill()
    wait_for("it failed", lambda: len(outcomes) == 1)
    assert isinstance(outcomes[0], Errored)
    assert outcomes[0].message.endswith("signal: SIGKILL")


def test_a_sandbox_frozen_in_the_middle_goes_on_after_its_time_and_nobody_hears_it(toy: Callable[..., Toy]) -> None:
    made = toy(timeout_s=3)
    outcomes = made.in_background(do="sleep", seconds=2)
    wait_for("it runs", lambda: len(made.seen()) == 1)
    (sandbox,) = made.function.sandboxes
    sandbox.freeze()
    wait_for("its time is over", lambda: len(outcomes) == 1)
    assert isinstance(outcomes[0], Unknown)
    assert sandbox.is_alive
    made.answer()
    assert made.function.cold_starts == 2
    sandbox.thaw()
    wait_for("it is done", lambda: sandbox.is_idle)


def test_an_answer_above_6_mb_is_a_failure(toy: Callable[..., Toy]) -> None:
    made = toy(timeout_s=10)
    outcome = made.invoke(do="large", bytes=6 * 1024 * 1024)
    assert isinstance(outcome, Errored)
    assert outcome.error_type == "Function.ResponseSizeTooLarge"
    assert isinstance(made.invoke(do="large", bytes=6 * 1024 * 1024 - 2), Answered)


def test_as_many_run_at_once_as_the_concurrency_and_the_next_is_throttled(toy: Callable[..., Toy]) -> None:
    made = toy(concurrency=2, timeout_s=30)
    under_way = [made.in_background(do="sleep", seconds=60) for _ in range(2)]
    wait_for("both run", lambda: len(made.seen()) == 2)
    assert isinstance(made.invoke(), NotInvoked)
    made.function.close()
    wait_for("both ended", lambda: all(under_way))


def test_a_function_that_cannot_be_imported_fails_with_the_reason(tmp_path: Path, toy: Callable[..., Toy]) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "broken.py").write_text("import nothing_like_this")
    made = toy(load_code("broken:handler", tmp_path / "package", tmp_path))
    outcome = made.invoke()
    assert isinstance(outcome, Errored)
    assert outcome.error_type == "Runtime.ImportModuleError"
    assert "nothing_like_this" in outcome.message


def test_a_function_that_starts_slowly_starts_again_within_its_first_invocation(
    tmp_path: Path, toy: Callable[..., Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_simulator.function.function.INIT_LIMIT_S", 0.5)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "slow.py").write_text("import time\ntime.sleep(1)\ndef handler(*_):\n    return 'up'\n")
    made = toy(load_code("slow:handler", tmp_path / "package", tmp_path), timeout_s=20)
    assert made.answer() == "up"
    assert made.function.cold_starts == 2


def test_a_package_sees_what_it_holds_and_what_lambda_brings_and_nothing_else(
    tmp_path: Path, toy: Callable[..., Toy]
) -> None:
    package = tmp_path / "function.zip"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app/__init__.py", "")
        archive.writestr(
            "app/main.py",
            "import importlib.util\n"
            "def handler(event, context):\n"
            "    return [name for name in event['names'] if importlib.util.find_spec(name)]\n",
        )
    made = toy(load_code("app.main:handler", package, tmp_path))
    names = ["app", "boto3", "dateutil", "confluent_kafka", "tailrace", "msgspec"]
    assert made.answer(names=names) == ["app", "boto3", "dateutil"]


@pytest.mark.parametrize("handler", ["module", "", ":f", "module:f g", "-m:f"])
def test_a_handler_that_is_none_is_told(handler: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no handler; name it module:function"):
        load_code(handler, None, tmp_path)


@pytest.mark.parametrize("content", [None, "no zip"])
def test_a_package_that_is_none_is_told(content: str | None, tmp_path: Path) -> None:
    package = tmp_path / "function.zip"
    if content:
        package.write_text(content)
    with pytest.raises(InputError, match=r"function\.zip: it "):
        load_code("module:function", package, tmp_path)
