"""The plot of docs/performance.md: bars of changes a CPU second, as a small SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

_WIDTH: Final = 720
_LABEL_WIDTH: Final = 250
_ROW: Final = 26
_TOP: Final = 34
_COLORS: Final = {"naive": "#9aa5b1", "pure": "#2f7ed8", "native": "#0b8457"}


def bars(parts: Mapping[str, Any]) -> str:
    """Draw what the parts `page` and `worker` found."""
    found = [("page to commit", how, rate) for how, rate, *_ in parts.get("page", {}).get("rows", [])]
    found += [
        (f"whole worker, {shards} shards", how, rate)
        for how, workers, shards, rate, *_ in parts.get("worker", {}).get("rows", [])
        if how != "naive" and workers == 1
    ]
    most = max((rate for _, _, rate in found), default=1)
    height = _TOP + _ROW * len(found) + 10
    room = _WIDTH - _LABEL_WIDTH - 90
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="10" y="20" font-weight="bold">Changes a CPU second (400 B items, both images, Debezium)</text>',
    ]
    for number, (what, how, rate) in enumerate(found):
        y = _TOP + _ROW * number
        length = max(1, round(room * rate / most))
        lines += [
            f'<text x="10" y="{y + 15}">{escape(f"{what}: {how}")}</text>',
            f'<rect x="{_LABEL_WIDTH}" y="{y}" width="{length}" height="{_ROW - 6}" fill="{_COLORS[how]}"/>',
            f'<text x="{_LABEL_WIDTH + length + 6}" y="{y + 15}">{rate:,}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
