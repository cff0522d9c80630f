"""`tailrace version`: what is installed, and which transcoder a worker uses."""

from __future__ import annotations

import json
import platform
from typing import Annotated

import typer

from tailrace._version import __version__


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Show the versions of Tailrace, Python and the transcoder.

    It also says which transcoder a worker uses here, and why.

    \b
    Example:
      tailrace version
    """
    from tailrace.wiring.transcoder import choose

    transcoder = choose()
    if as_json:
        fields = {
            "version": __version__,
            "python": platform.python_version(),
            "transcoder": transcoder.name,
            "why": transcoder.why,
        }
        typer.echo(json.dumps(fields))
        return
    typer.echo(f"version     {__version__}")
    typer.echo(f"python      {platform.python_version()}")
    typer.echo(f"transcoder  {transcoder.name}: {transcoder.why}")
