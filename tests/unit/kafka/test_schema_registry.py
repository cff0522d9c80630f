"""Ids of schemas: what is asked of a registry, and the sentence for each way in which it does not give one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest

from tailrace.connect.avro_schema import avro_schema
from tailrace.connect.data import Schema
from tailrace.connect.registered import Registry
from tailrace.errors import UnreachableError, WorldError
from tailrace.kafka.schema_registry import make_ids
from tailrace.local.service import free_ports

TEXT = avro_schema(Schema("string"))


class Answers(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        Answers.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    """A registry that answers as `Answers` says."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Answers.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def answer(status: int, **body: object) -> None:
    Answers.status, Answers.body = status, json.dumps(body).encode()


def registry(url: str, more: dict[str, str] | None = None, *, auto_register: bool = True) -> Registry:
    return Registry({"url": url} | (more or {}), auto_register)


def test_an_id_is_asked_for_once(url: str) -> None:
    answer(200, id=7)
    ids = make_ids(registry(url, {"basic.auth.user.info": "user:password"}))
    assert [ids.id_of("a-value", TEXT) for _ in range(3)] == [7, 7, 7]
    assert ids.id_of("b-value", TEXT) == 7
    assert {path.partition("?")[0] for path, _ in Answers.asked} == {
        "/subjects/a-value/versions",
        "/subjects/b-value/versions",
    }
    assert {login for _, login in Answers.asked} == {"Basic dXNlcjpwYXNzd29yZA=="}


def test_a_token_needs_no_logical_cluster_where_there_is_none(url: str) -> None:
    answer(200, id=7)
    token = {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.token": "abc"}
    assert make_ids(registry(url, token)).id_of("a-value", TEXT) == 7
    assert [login for _, login in Answers.asked] == ["Bearer abc"]


@pytest.mark.parametrize(
    ("status", "auto_register", "kind", "sentence"),
    [
        (500, True, UnreachableError, "failed: no (HTTP 500); it is asked again"),
        (429, True, UnreachableError, "failed: no (HTTP 429)"),
        (401, True, WorldError, "does not allow it: no (HTTP 401); check the login"),
        (409, True, WorldError, "schema of a-value is not compatible with those that the registry has"),
        (422, True, WorldError, "refuses the schema of a-value: no (HTTP 422)"),
        (404, False, WorldError, "has no such schema for a-value"),
    ],
)
def test_what_a_registry_refuses(
    url: str, status: int, auto_register: bool, kind: type[WorldError], sentence: str
) -> None:
    answer(status, error_code=1, message="no")
    ids = make_ids(registry(url, auto_register=auto_register))
    with pytest.raises(WorldError) as raised:
        ids.id_of("a-value", TEXT)
    assert type(raised.value) is kind
    assert sentence in str(raised.value)
    answer(200, id=8, subject="a-value", version=1, schema=TEXT.text)
    assert ids.id_of("a-value", TEXT) == 8  # a refusal is not kept


def test_a_registry_that_is_down_is_asked_again() -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        make_ids(registry(f"http://127.0.0.1:{free_ports(1)[0]}")).id_of("a-value", TEXT)


def test_properties_that_the_client_refuses() -> None:
    ids = make_ids(registry("http://localhost", {"bearer.auth.credentials.source": "STATIC_TOKEN"}))
    with pytest.raises(WorldError, match=r"cannot be made: Missing bearer\.auth\.token"):
        ids.id_of("a-value", TEXT)
