"""The commit at the end of a stream, on servers as sites run them."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import closing

import pytest

from tests.processes import request
from tests.redis_server import needed
from tests.servers import migrate, serve

pytestmark = pytest.mark.server

PATIENCE = 10  # seconds


@pytest.fixture(scope="module")
def database_url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('servers')}/db.sqlite3"
    migrate(url)
    return url


def variables(store):
    """What a server process needs for its sessions."""
    return {"TEST_STORE": store} | ({"TEST_REDIS": needed()} if store == "redis" else {})


@pytest.fixture(scope="module", params=["uvicorn db", "gunicorn db", "uvicorn redis", "gunicorn redis"])
def port(request, database_url):
    server, store = request.param.split()
    with serve(server, database_url, **variables(store)) as port:
        yield port


class Visitor:
    def __init__(self, port):
        self.port = port
        self.cookie = request(port, "GET", "/session/write?a=1").headers["Set-Cookie"].partition(";")[0]

    def open(self, query):
        """A socket on which the stream is just beginning."""
        wire = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"GET /session/stream?{query} HTTP/1.1\r\nHost: test\r\nCookie: {self.cookie}\r\n\r\n"
        wire.sendall(head.encode())
        assert wire.recv(12) == b"HTTP/1.1 200"  # Hypercorn says no more than that
        return wire

    def stored(self):
        response = request(self.port, "GET", "/session/dump", headers={"Cookie": self.cookie})
        return json.loads(response.text)

    def waits_for_end(self):
        deadline = time.monotonic() + PATIENCE
        while (stored := self.stored()).get("stream") != "closed" and time.monotonic() < deadline:
            time.sleep(0.05)
        return stored


def test_the_normal_end(port):
    visitor = Visitor(port)
    response = request(port, "GET", "/session/stream?chunks=3", headers={"Cookie": visitor.cookie})
    assert response.text == "xxx"
    assert visitor.waits_for_end() == {"a": "1", "stream": "closed", "sent": 2}


def test_a_first_visit_gets_its_cookie_before_the_body(port):
    visitor = Visitor(port)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/session/stream?chunks=20")
        response = connection.getresponse()
        visitor.cookie = response.headers["Set-Cookie"].partition(";")[0]
        assert visitor.stored()["stream"] == "open"
        assert len(response.read()) == 20
    assert visitor.waits_for_end() == {"stream": "closed", "sent": 19}


def test_the_client_leaves(port):
    visitor = Visitor(port)
    wire = visitor.open("chunks=100000")
    wire.recv(1000)
    wire.close()
    stored = visitor.waits_for_end()
    assert stored["stream"] == "closed"
    assert stored["sent"] < 99_999


def test_the_client_stops_reading_and_leaves(port):
    visitor = Visitor(port)
    wire = visitor.open("chunks=100000&size=1000000")
    time.sleep(0.5)  # long enough to fill every buffer on the way: the server is blocked in send()
    wire.close()
    stored = visitor.waits_for_end()
    assert stored["stream"] == "closed"
    assert stored["sent"] < 99_999


def test_the_view_fails_in_mid_stream(port):
    visitor = Visitor(port)
    with visitor.open("chunks=3&error=1"):  # Daphne never closes it
        assert visitor.waits_for_end() == {"a": "1", "stream": "closed", "sent": 2}


@pytest.mark.matrix
@pytest.mark.parametrize("store", ["db", "memory", "redis"])
@pytest.mark.parametrize(
    "server", ["daphne", "daphne+handoff", "hypercorn", "hypercorn+handoff", "runserver"]
)
def test_on(server, store, database_url):
    with serve(server, database_url, **variables(store)) as port:
        test_the_normal_end(port)
        test_the_client_leaves(port)
        test_the_view_fails_in_mid_stream(port)
