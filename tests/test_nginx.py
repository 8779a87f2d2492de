"""The chat behind a real nginx that is configured as docs/deployment.md says."""

from __future__ import annotations

import http.client
import os
import shutil
import sqlite3
import time
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.processes import PATIENCE, free_port, request, serving
from tests.redis_server import missing
from tests.servers import migrate, serve
from tests.test_docs import block, blocks, text
from tests.test_hosts import Guest, read

pytestmark = pytest.mark.matrix

DOCS = text("deployment.md")
#: Compresses streams too, and gives up a server that is silent for 20 seconds.
NGINX = """
daemon off;
user {user};
pid {folder}/pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    gzip on; gzip_proxied any; gzip_min_length 1; gzip_types text/event-stream;
    proxy_read_timeout 20s;
    {site}
}}
"""
SETTINGS = """
from tests.settings import *
CHATSESSION = {**CHATSESSION, "CLIENT_IP": "mysite.proxy.client_ip", "ON_DISCONNECT": "stop"}
"""
SILENCE = 600 if "TEST_SLOW" in os.environ else 25  # seconds, more than nginx waits for a silent server


class Site(NamedTuple):
    port: int
    database: str


@pytest.fixture(scope="module", params=["uvicorn+handoff", "gunicorn"])
def site(request, tmp_path_factory):
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("no nginx: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "static").mkdir()
    (folder / "static" / "chat.css").write_text("body { color: green }")
    (folder / "mysite").mkdir()
    (folder / "mysite" / "proxy.py").write_text(block(DOCS, "def client_ip"))
    (folder / "nginx_settings.py").write_text(SETTINGS)
    database, port = f"{folder}/db.sqlite3", free_port()
    variables = {"DJANGO_SETTINGS_MODULE": "nginx_settings", "PYTHONPATH": str(folder)}
    migrate(f"sqlite:///{database}", **variables)
    with serve(request.param, f"sqlite:///{database}", **variables) as upstream:
        own = {"listen 80;": f"listen 127.0.0.1:{port};", "127.0.0.1:8000": f"127.0.0.1:{upstream}"}
        own["/srv/mysite/"] = f"{folder}/"
        configuration = folder / "nginx.conf"
        configuration.write_text(configured(own, folder))
        with serving([program, "-c", str(configuration)], port):
            yield Site(port, database)


def configured(own, folder):
    """The docs' block within an nginx of this test's own."""
    [server] = blocks(DOCS, "nginx")
    for theirs, ours in own.items():
        assert theirs in server
        server = server.replace(theirs, ours)
    return NGINX.format(user="root" if os.geteuid() == 0 else "nobody", folder=folder, site=server)


def browser(port):
    """A guest whose requests say what a browser's say."""
    guest = Guest(port)
    guest.headers |= {"Accept-Encoding": "gzip", "Origin": f"http://127.0.0.1:{port}"}
    return guest


def test_the_first_words_come_while_the_model_is_still_writing(site):
    guest = browser(site.port)
    with guest.open(site.port, "GET", "/chat/") as page:
        assert page.headers["Content-Encoding"] == "gzip"
    response = guest.send(site.port, "/stall")  # some words, then nothing
    assert response.headers["Content-Encoding"] == "identity"
    assert read(response, words=5).text.startswith("Here are some words,")


def test_an_answer_outlasts_a_model_that_is_silent_for_longer_than_nginx_waits(site):
    guest = browser(site.port)
    response = guest.send(site.port, "/stall")
    time.sleep(SILENCE)
    assert guest.stop(site.port)["status"] == "stopped"
    assert read(response).end == "abort"


def test_a_reader_who_leaves_is_noticed(site):
    guest = browser(site.port)
    read(guest.send(site.port, "/slow 500"), words=3)
    deadline = time.monotonic() + PATIENCE
    while (status := status_of_last_answer(site)) == "streaming" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert status == "stopped"


def status_of_last_answer(site):
    return stored(site, "SELECT status FROM chatsession_message WHERE role = 'assistant' ORDER BY id DESC")


def stored(site, query):
    with closing(sqlite3.connect(site.database)) as database:
        return database.execute(query).fetchone()[0]


def test_the_visitors_address_is_nginxs_word_and_not_the_visitors(site):
    """Linux lets a client come from anywhere in 127.0.0.0/8."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, source_address=("127.5.6.7", 0))
    with closing(connection):
        connection.request("GET", "/chat/", headers={"X-Forwarded-For": "203.0.113.9"})
        assert connection.getresponse().status == 200
    assert stored(site, "SELECT ip FROM chatsession_session ORDER BY created_at DESC") == "127.5.6.0"


def test_static_files_do_not_reach_django(site):
    assert request(site.port, "GET", "/static/chat.css").text == "body { color: green }"
