"""Chat and sessions through a real PgBouncer in transaction mode, configured as docs/deployment.md says."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest

from demo_project.steps import lacks_postgres
from tests.faults.__main__ import POSTGRES, database
from tests.processes import free_port, request, serving
from tests.redis_server import missing
from tests.servers import migrate, serve
from tests.test_docs import block, blocks, text
from tests.test_hosts import Guest, read

pytestmark = pytest.mark.matrix

DOCS = text("deployment.md")
CONNECTIONS = 2  # to PostgreSQL, for all that goes on here
STREAMS, WRITERS = 20, 50
SETTINGS = """
from tests.settings import *
DATABASES["default"]["CONN_MAX_AGE"] = int(os.environ.get("CONN_MAX_AGE", 0))
"""


class Site(NamedTuple):
    here: int
    there: int
    url: str

    def connections(self):
        """How many PostgreSQL has to this database."""
        with psycopg.connect(self.url) as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            [count] = connection.execute(query).fetchone()
        return count - 1  # this one


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two servers of one site whose database is behind PgBouncer."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if lacks := lacks_postgres() or ("" if program else "no pgbouncer: apt-get install pgbouncer"):
        missing(lacks)
    folder, port = tmp_path_factory.mktemp("pgbouncer"), free_port()
    settings = block(DOCS, "DISABLE_SERVER_SIDE_CURSORS").replace("6432", str(port))
    (folder / "pgbouncer_settings.py").write_text(SETTINGS + settings)
    variables = {"DJANGO_SETTINGS_MODULE": "pgbouncer_settings", "PYTHONPATH": str(folder)}
    with ExitStack() as held:
        url = held.enter_context(database("postgres", folder))
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(configured(urlsplit(url), port))
        options = ["-u", "nobody"] if os.geteuid() == 0 else []
        held.enter_context(serving([program, *options, str(configuration)], port))
        # A port where nobody listens: only the docs' settings lead to the database.
        elsewhere = f"{POSTGRES.rpartition('@')[0]}@127.0.0.1:1{urlsplit(url).path}"
        migrate(elsewhere, **variables)
        here = held.enter_context(serve("uvicorn+handoff", elsewhere, **variables))
        # Its threads keep more connections to PgBouncer than that has to PostgreSQL.
        there = held.enter_context(serve("gunicorn", elsewhere, CONN_MAX_AGE="600", **variables))
        yield Site(here, there, url)


def configured(server, port):
    """The docs' block, for this server and without passwords."""
    name, password = server.path[1:], server.password and f" password={server.password}"
    target = f"host={server.hostname} port={server.port or 5432} user={server.username}{password or ''}"
    own = {
        "mysite = host=127.0.0.1 port=5432": f"{name} = {target}",
        "6432": str(port),
        "auth_type = scram-sha-256\nauth_file = /etc/pgbouncer/userlist.txt": "auth_type = any",
        "default_pool_size = 20": f"default_pool_size = {CONNECTIONS}",
    }
    [page] = blocks(DOCS, "ini")
    for theirs, ours in own.items():
        assert theirs in page
        page = page.replace(theirs, ours)
    return page


def test_an_answer_is_sent_here_followed_there_and_stopped(site):
    guest = Guest(site.here)
    first = guest.send(site.here, "/slow 40")

    assert read(guest.follow(site.there)).text == read(first).text

    response = guest.send(site.here, "/stall")
    assert guest.stop(site.there)["status"] == "stopped"
    assert read(response).end == "abort"


def test_open_streams_hold_no_connection(site):
    ports = [site.here] * (STREAMS - 5) + [site.there] * 5
    guests = [(Guest(port), port) for port in ports]
    with ExitStack() as held:
        streams = [held.enter_context(guest.send(port, "/stall")) for guest, port in guests]
        for stream in streams:
            assert stream.readline()
        assert site.connections() <= CONNECTIONS
        assert read(Guest(site.there).send(site.there, "/slow 1")).end == "finish"
        for guest, port in guests:
            guest.stop(port)


def test_writers_of_one_session_lose_nothing(site):
    cookie = request(site.here, "GET", "/session/write?n=0").headers["Set-Cookie"].partition(";")[0]

    def write(number):
        port = (site.here, site.there)[number % 2]
        path = f"/session/write?own{number}={number}"
        return request(port, "GET", path, headers={"Cookie": cookie}).status

    with ThreadPoolExecutor(WRITERS) as pool:
        assert set(pool.map(write, range(WRITERS))) == {200}
    stored = json.loads(request(site.there, "GET", "/session/dump", headers={"Cookie": cookie}).text)
    assert stored == {"n": "0"} | {f"own{number}": str(number) for number in range(WRITERS)}
