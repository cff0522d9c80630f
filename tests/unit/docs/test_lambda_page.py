"""docs/lambda-at-home.md names every hostility, and its function runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tailrace_simulator.event_source import Hostility

PAGE = (Path(__file__).parents[3] / "docs" / "lambda-at-home.md").read_text()
SECTIONS = dict(re.findall(r"^###? (.+)\n((?:(?!^###? ).*\n?)*)", PAGE, flags=re.MULTILINE))


def test_every_hostility_is_documented() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", SECTIONS["Hostility"], flags=re.MULTILINE)
    assert tuple(documented) == Hostility.__struct_fields__


def test_the_function_of_the_page_runs() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "docs/lambda-at-home.md", "exec"), names)
    assert names["handler"]({"Records": []}, None) == {"state": {}, "batchItemFailures": []}
