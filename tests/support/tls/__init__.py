"""Certificates until the year 2126: of an authority (`ca.pem`), and of a broker, a client and a stranger, with keys.

Made by openssl: `req -x509 -newkey rsa:2048 -nodes -days 36500` for the authority and the stranger, who has certified
itself; `req -newkey rsa:2048` and `x509 -req -CA …` with subjectAltName=IP:127.0.0.1,DNS:localhost for the others.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
CA = FOLDER / "ca.pem"
BROKER = FOLDER / "broker.pem"
WORKER = FOLDER / "worker.pem"
STRANGER = FOLDER / "stranger.pem"
