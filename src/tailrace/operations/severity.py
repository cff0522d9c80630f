"""How bad a state is: what a person who looks at many should notice first."""

from __future__ import annotations

from typing import Literal

Severity = Literal["ok", "warning", "error"]
