"""`tailrace validate` and `tailrace transform` need no network and no credentials for any file of the docs."""

from __future__ import annotations

import re
import socket
import textwrap
from pathlib import Path
from typing import NoReturn

import pytest

from support.cli import CommandLine
from support.names import unique

ROOT = Path(__file__).parents[3]
REST = {
    "name": "name: shop\n",
    "kafka": "kafka:\n  bootstrap.servers: localhost:9092\n",
    "source": "source:\n  type: dynamodb-streams\n  region: us-east-1\n  tables: [orders]\n",
}
"""What completes an example that shows only some keys."""
EVENT = """{"Records": [{
  "eventID": "1", "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
  "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2026-01-01T00:00:00.000",
  "dynamodb": {"ApproximateCreationDateTime": 1767225600, "Keys": {"id": {"S": "a"}},
    "SequenceNumber": "100000000000000000001", "SizeBytes": 10, "StreamViewType": "NEW_AND_OLD_IMAGES",
    "NewImage": {"id": {"S": "a"}, "email": {"S": "a@b.c"}, "type": {"S": "order"}}}}]}"""


def examples() -> list[tuple[str, str]]:
    """Return each pipeline file of the docs, completed, with the page that shows it."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            shown = textwrap.dedent(block)
            keys = set(re.findall(r"^(\w+):", shown, flags=re.MULTILINE))
            if re.search(r"^topics: \[", shown, flags=re.MULTILINE):  # a lake's own file
                found.append((page.name, shown))
            elif keys & {"source", "kafka", "transform"}:
                found.append((page.name, "".join(rest for key, rest in REST.items() if key not in keys) + shown))
    return found


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Refuse every connection and look-up of a name, and tell which were tried."""
    tried: list[object] = []

    def refuse(*arguments: object, **_: object) -> NoReturn:
        tried.append(arguments[-1])
        raise OSError("the network is refused")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return tried


@pytest.mark.parametrize("content", [pytest.param(content, id=page) for page, content in examples()])
def test_a_file_of_the_docs_is_checked_and_tried_without_a_network(
    content: str,
    offline: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"\$\{env:(\w+)\}", content):
        monkeypatch.setenv(name, "a long random text")
    for path in re.findall(r"\$\{file:([^}]+)\}", content):
        content = content.replace(path, "kept-outside")
        Path("kept-outside").write_text("a long random text")
    for module in re.findall(r"(\w+):redact", content):
        own = unique(module).replace("-", "_")
        content = content.replace(module, own)
        Path(f"{own}.py").write_text("def redact(change):\n    return change\n")
    Path("pipeline.yaml").write_text(content)
    Path("event.json").write_text(EVENT)
    tailrace = CommandLine(capsys)
    checked = tailrace("validate", "pipeline.yaml")
    assert (checked.code, checked.err) == (0, "")
    if "source:" in content:
        assert tailrace("transform", "pipeline.yaml", "--sample", "event.json", "--table", "orders").code == 0
    assert offline == []


def test_the_pages_show_a_file_with_secrets() -> None:
    assert len(examples()) >= 9
    assert any("${secret:" in content for _, content in examples())
