"""Ports that somebody listens on: refuse them at once, and name who it is where the system tells."""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path

from tailrace.errors import WorldError, printable

_LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def require_free(port: int, *, hint: str) -> None:
    """Raise WorldError when a port of the loopback address cannot be listened on; `hint` says how to choose another."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a connection that has just ended is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise refused(error, f"127.0.0.1:{port}", port, hint=hint) from error


def refused(error: OSError, address: str, port: int, *, hint: str) -> WorldError:
    """Return the error for an address that could not be listened on."""
    if error.errno != errno.EADDRINUSE:
        return WorldError(f"cannot listen on {address}: {error.strerror or error}", hint=hint)
    return WorldError(f"port {port} is in use by {_listener(port) or 'another process'}", hint=f"stop it, or {hint}")


def _listener(port: int) -> str | None:
    """Name the process that listens on a port; None where /proc does not tell, as for processes of other users."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for link in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        with contextlib.suppress(OSError):
            if str(link.readlink()) in sockets:
                process = link.parents[1]
                name = printable((process / "comm").read_text(errors="replace").strip())
                return f"{name} (process {process.name})"
    return None


def _inodes(port: int) -> set[str]:
    """Return the inodes of the sockets that listen on a port.

    Source: https://docs.kernel.org/networking/proc_net_tcp.html
    """
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for row in Path(table).read_text().splitlines()[1:]:
                fields = row.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found
