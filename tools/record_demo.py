"""Record a real run of `tailrace demo` as an animated SVG: `python tools/record_demo.py docs/demo.svg`."""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from rich.cells import cell_len

COLUMNS, ROWS = 100, 30
FRAME_S = 1.0
LAST_FRAME_S = 6.0
CELL_X, CELL_Y, MARGIN = 7.8, 17, 14
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "36": "#76e3ea"}
PLAIN, DIM = "#d0d7de", "#8b949e"

_CODE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\r\n|[\r\n]|[^\x1b\r\n]|\x1b")

Cell = tuple[str, str]
"""A character and its style: a colour, with `;b` behind it when it is bold. "" continues a wide character."""


@dataclass
class Screen:
    """As much of a terminal as the demo uses: lines that scroll, the cursor up and down, erased lines, colours."""

    lines: list[list[Cell]] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    style: str = PLAIN

    def write(self, text: str) -> None:
        """Take what the program wrote."""
        for match in _CODE.finditer(text):
            if match[2]:
                self._control(match[1], match[2])
            elif match[0] == "\r":
                self.column = 0
            elif match[0] in {"\n", "\r\n"}:
                self.row, self.column = self.row + 1, 0
                if self.row == len(self.lines):
                    self.lines.append([])
            else:
                self._put(match[0])

    def visible(self) -> tuple[tuple[Cell, ...], ...]:
        """Return the last lines, as many as the terminal has."""
        return tuple(tuple(line) for line in self.lines[-ROWS:])

    def _control(self, arguments: str, letter: str) -> None:
        if letter == "A":
            self.row = max(0, self.row - int(arguments or 1))
        elif letter == "K":
            self.lines[self.row] = []
        elif letter == "m":
            for code in arguments.split(";"):
                self._set_style(code)

    def _set_style(self, code: str) -> None:
        if code in {"", "0"}:
            self.style = PLAIN
        elif code == "1":
            self.style += ";b"
        elif code == "2":
            self.style = DIM
        elif code in COLOURS:
            self.style = COLOURS[code] + (";b" if self.style.endswith(";b") else "")

    def _put(self, character: str) -> None:
        line = self.lines[self.row]
        line.extend([(" ", PLAIN)] * (self.column - len(line)))
        width = max(1, cell_len(character))
        line[self.column : self.column + width] = [(character, self.style)] + [("", self.style)] * (width - 1)
        self.column += width


def record(command: list[str]) -> list[tuple[tuple[Cell, ...], ...]]:
    """Run the command in a terminal and return what it shows, a frame each `FRAME_S`, and the last."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm", "COLUMNS": f"{COLUMNS}", "LINES": f"{ROWS}"}
    environment.pop("NO_COLOR", None)
    screen, frames, text = Screen(), [], b""
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        next_s = time.monotonic() + FRAME_S
        while True:
            if select.select([ours], [], [], 0.05)[0]:
                try:
                    text += os.read(ours, 65536)
                except OSError:  # the other side is closed
                    break
            if time.monotonic() >= next_s:
                # A frame ends where the program has drawn the panel whole.
                screen.write(text.decode(errors="ignore"))
                text = b""
                frames.append(screen.visible())
                next_s += FRAME_S
        if process.wait():
            sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    screen.write(text.decode(errors="ignore"))
    return [*frames, screen.visible()]


def without_waiting(frames: list[tuple[tuple[Cell, ...], ...]]) -> list[tuple[tuple[Cell, ...], ...]]:
    """Leave out frames in which nothing but numbers, such as the time, differs from the one before."""

    def texts(frame: tuple[tuple[Cell, ...], ...]) -> str:
        return re.sub(r"[\d.,\u2501\u257a\u2578]+", "", "\n".join("".join(cell for cell, _ in line) for line in frame))

    return [frame for before, frame in zip([(), *frames], frames, strict=False) if texts(before) != texts(frame)]


def svg(frames: list[tuple[tuple[Cell, ...], ...]]) -> str:
    """Draw the frames side by side, and move one after the other into checkpoint state; equal lines are drawn once."""
    width, height = COLUMNS * CELL_X + 2 * MARGIN, ROWS * CELL_Y + 2 * MARGIN
    total_s = (len(frames) - 1) * FRAME_S + LAST_FRAME_S
    steps = "".join(
        f"{100 * number * FRAME_S / total_s:.2f}%{{transform:translateX({-number * width:.0f}px)}}"
        for number in range(len(frames))
    )
    names: dict[tuple[Cell, ...], str] = {}
    uses: list[str] = []
    for number, frame in enumerate(frames):
        for row, line in enumerate(frame):
            if any(character.strip() for character, _ in line):
                name = names.setdefault(line, f"l{len(names)}")
                uses.append(
                    f'<use href="#{name}" x="{number * width + MARGIN:.0f}" y="{MARGIN + (row + 1) * CELL_Y - 4}"/>'
                )
    lines = "".join(f'<text id="{name}">{spans(line)}</text>' for line, name in names.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        f' height="{height:.0f}" role="img" aria-label="A recording of tailrace demo">\n'
        "<style>text{font:13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}"
        f".b{{font-weight:700}}#f{{animation:f {total_s:.0f}s step-end infinite}}@keyframes f{{{steps}}}</style>\n"
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="#0d1117"/><defs>{lines}</defs>\n'
        f'<g id="f">{"".join(uses)}</g>\n</svg>\n'
    )


def spans(line: tuple[Cell, ...]) -> str:
    """Return the runs of one style of a line, each at its column."""
    runs: list[tuple[int, str, str]] = []
    for column, (character, style) in enumerate(line):
        if runs and runs[-1][2] == style:
            runs[-1] = (runs[-1][0], runs[-1][1] + character, style)
        else:
            runs.append((column, character, style))
    made = ""
    for column, text, style in runs:
        colour, _, bold = style.partition(";")
        weight = ' class="b"' if bold else ""
        for words in re.finditer(r"\S+(?: \S+)*", text):
            x = (column + cell_len(text[: words.start()])) * CELL_X
            made += f'<tspan x="{x:.1f}" fill="{colour}"{weight}>{escape(words[0], quote=False)}</tspan>'
    return made


def main() -> None:
    """Record, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=int, default=16, help="how long the demo writes changes; %(default)s")
    options = parser.parse_args()
    tailrace = Path(sys.executable).with_name("tailrace")
    frames = record([str(tailrace), "demo", "--seconds", str(options.seconds)])
    options.file.write_text(svg(without_waiting(frames)))


if __name__ == "__main__":
    main()
