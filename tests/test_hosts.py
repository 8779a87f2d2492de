"""Two processes and one database; servers that recycle, reload and end their workers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.faults.hosts import workers
from tests.faults.reading import Reading
from tests.processes import free_port, request, serving
from tests.servers import environment, migrate, serve

pytestmark = pytest.mark.matrix

GUNICORN = "gunicorn tests.wsgi --bind=127.0.0.1:{port}"
GTHREAD = f"{GUNICORN} --worker-class=gthread --threads=4"
UVICORN = "uvicorn tests.asgi:application --workers=2 --log-level=warning --port={port}"
HYPERCORN = "hypercorn tests.asgi:application --graceful-timeout=1 --bind=127.0.0.1:{port}"
RUNSERVER = "django runserver 127.0.0.1:{port}"
SLOW = "One piece after the other"
LEASE = 20  # seconds


@pytest.fixture(scope="module")
def database_url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('hosts')}/db.sqlite3"
    migrate(url)
    return url


@contextmanager
def host(command, database_url, **variables):
    """(process, port) of a server by its whole command."""
    port = free_port()
    arguments = [sys.executable, "-m", *command.format(port=port).split()]
    with serving(arguments, port, env=environment(database_url, **variables)) as process:
        yield process, port


class Guest:
    """One visitor and one conversation, on whatever port."""

    def __init__(self, port):
        page = request(port, "GET", "/chat/")
        cookies = dict(line.split(";")[0].split("=", 1) for line in page.headers.get_all("Set-Cookie"))
        cookie = "; ".join(map("=".join, cookies.items()))
        self.headers = {"Cookie": cookie, "X-CSRFToken": cookies["csrftoken"]}
        self.headers |= {"Content-Type": "application/json", "Connection": "close"}
        self.path = f"/chat/api/chat/c{os.urandom(8).hex()}"

    def open(self, port, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, body and json.dumps(body), self.headers | headers)
        return connection.getresponse()

    def send(self, port, text):
        message = {"id": os.urandom(8).hex(), "role": "user", "parts": [{"type": "text", "text": text}]}
        body = {"id": self.path.rpartition("/")[2], "message": message}
        return self.open(port, "POST", "/chat/api/chat", body)

    def follow(self, port, cursor=""):
        return self.open(port, "GET", f"{self.path}/stream", **{"Last-Event-ID": cursor})

    def stop(self, port):
        with self.open(port, "POST", f"{self.path}/stop", {}) as response:
            return json.load(response)


def read(response, reading=None, words=None):
    """To the end, or until the text has so many words; then the connection is dropped."""
    reading = reading or Reading("")
    event_id = None
    with response:
        for line in response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                event_id = value
            elif name == "data" and value != "[DONE]":
                reading.apply(event_id, json.loads(value))
                event_id = None
            if words and len(reading.text.split()) >= words:
                break
    return reading


def go_on(guest, port, reading, words=None):
    """Resume until the end, or until there are so many words, as a page does."""
    deadline = time.monotonic() + 2 * LEASE
    while not reading.end and time.monotonic() < deadline:
        if words and len(reading.text.split()) >= words:
            break
        try:
            read(guest.follow(port, reading.cursor), reading, words)
        except (OSError, http.client.HTTPException):
            time.sleep(0.2)
    assert reading.faults == []
    return reading


@pytest.fixture(scope="module")
def two(database_url):
    """The ports of two workers that share nothing but the database."""
    with serve("uvicorn+handoff", database_url) as first, serve("gunicorn", database_url) as second:
        yield first, second


def test_an_answer_is_followed_through_another_worker(two):
    here, there = two
    guest = Guest(here)
    first = guest.send(here, "/slow 60")

    reading = read(guest.follow(there))

    assert reading.text == read(first).text
    assert reading.text.startswith(SLOW)
    assert (reading.end, reading.faults) == ("finish", [])
    with guest.follow(there) as nothing:
        assert nothing.status == 204


def test_an_answer_is_resumed_by_its_cursor_from_worker_to_worker(two):
    guest = Guest(two[0])
    reading = read(guest.send(two[0], "/slow 100"), words=3)

    for turn in range(1, 5):
        read(guest.follow(two[turn % 2], reading.cursor), reading, words=3 + 6 * turn)
    go_on(guest, two[1], reading)

    assert reading.text == read(guest.send(two[0], "/slow 1")).text
    assert reading.replays <= 4  # a worker that is behind by a second sends it again from the start


def test_a_stop_reaches_the_other_worker_within_two_seconds(two):
    here, there = two
    guest = Guest(here)
    response = guest.send(here, "/stall")
    began = time.monotonic()

    guest.stop(there)

    reading = read(response)
    assert reading.end == "abort"
    assert time.monotonic() - began < 2.5
    assert guest.stop(there)["status"] in (None, "stopped")


@pytest.mark.parametrize("asleep", ["uvicorn tests.asgi:application --port={port}", GTHREAD])
def test_a_worker_that_was_only_asleep_sends_its_readers_away_and_writes_no_more(database_url, asleep):
    site = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "TEST_LEASE": "3"}
    with host(asleep, database_url, **site) as (process, here), host(GTHREAD, database_url, **site) as other:
        guest, there, pid = Guest(here), other[1], min(workers(process), default=process.pid)
        response = guest.send(here, "/slow 300")
        reading = read(guest.follow(here), words=3)
        os.kill(pid, signal.SIGSTOP)
        try:
            go_on(guest, there, reading, words=8)
            time.sleep(3)  # it has been dead for a while, and the answer goes on
        finally:
            os.kill(pid, signal.SIGCONT)

        assert read(response).end is None
        go_on(guest, here, reading)
        assert reading.text == read(guest.send(there, "/slow 1")).text


def test_gunicorn_that_loads_before_it_forks(database_url):
    command = f"{GTHREAD} --preload --workers=2"
    with host(command, database_url) as (process, port):
        guest = Guest(port)
        readings = [read(guest.send(port, "/slow 5")) for _ in range(6)]

        assert {(reading.text[: len(SLOW)], reading.end) for reading in readings} == {(SLOW, "finish")}
        os.kill(workers(process)[0], signal.SIGKILL)
        assert go_on(guest, port, read(guest.send(port, "/slow 5"))).text.startswith(SLOW)


def test_gunicorn_that_recycles_its_workers_in_mid_answer(database_url):
    command = f"{GTHREAD} --max-requests=20 --workers=2"
    with host(command, database_url) as (process, port):
        guest, before = Guest(port), workers(process)
        reading = read(guest.send(port, "/slow 200"), words=3)

        for _ in range(60):
            request(port, "GET", "/chat/")

        go_on(guest, port, reading)
        assert reading.text == read(guest.send(port, "/slow 1")).text
        assert workers(process) != before


def test_gunicorn_with_sync_workers_answers_though_a_stream_holds_one(database_url):
    with host(f"{GUNICORN} --workers=2", database_url) as (_, port):
        guest = Guest(port)
        reading = read(guest.send(port, "/slow 20"))

        assert (reading.text[: len(SLOW)], reading.end) == (SLOW, "finish")


def test_uvicorn_starts_a_new_worker_for_a_dead_one(database_url):
    with host(UVICORN, database_url) as (process, port):
        guest, before = Guest(port), set(workers(process))
        os.kill(min(before), signal.SIGKILL)

        deadline = time.monotonic() + LEASE
        while set(workers(process)) in (before, before - {min(before)}) and time.monotonic() < deadline:
            time.sleep(0.1)

        assert len(set(workers(process)) - before) == 1
        assert read(guest.send(port, "/slow 5")).end == "finish"


def test_runserver_that_reloads_in_mid_answer_goes_on_at_once(database_url, tmp_path):
    watched = tmp_path / "watched_settings.py"
    watched.write_text("from tests.settings import *\n")
    variables = {"DJANGO_SETTINGS_MODULE": "watched_settings", "PYTHONPATH": str(tmp_path)}
    with host(RUNSERVER, database_url, **variables) as (_, port):
        guest = Guest(port)
        response = guest.send(port, "/slow 200")
        reading = read(response, words=3)
        began = time.monotonic()

        watched.write_text("from tests.settings import *\n\n")

        go_on(guest, port, reading)
        assert reading.text.startswith(SLOW)
        assert time.monotonic() - began < LEASE, "the lease should have been given up"


@pytest.mark.parametrize(
    "command",
    [
        f"{GTHREAD} --graceful-timeout=2",
        f"{GUNICORN} --graceful-timeout=2",
        f"{UVICORN} --timeout-graceful-shutdown=2",
        RUNSERVER,
    ],
    ids=["gthread", "sync", "uvicorn", "runserver"],
)
def test_a_server_with_an_open_stream_ends_when_it_is_told_to(database_url, command):
    with host(command, database_url) as (process, port):
        with Guest(port).send(port, "/stall") as response:
            assert response.readline()
            began = time.monotonic()

            process.terminate()

            process.communicate(timeout=15)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_a_server_that_ends_gives_its_answers_up_under_the_hand_off(database_url, server):
    commands = {"uvicorn": f"{UVICORN} --timeout-graceful-shutdown=1", "hypercorn": HYPERCORN}
    with host(commands[server], database_url, TEST_HANDOFF="1") as (process, here):
        guest = Guest(here)
        reading = read(guest.send(here, "/slow 200"), words=3)
        process.terminate()
        process.communicate(timeout=15)
    began = time.monotonic()
    with host(GTHREAD, database_url) as (_, there):
        go_on(guest, there, reading, words=6)
        assert time.monotonic() - began < LEASE


SCRIPT = """
import django, signal, sys, time
django.setup()
from chatsession.conversations.turns import Ask
from chatsession.models import Message, Worker
from chatsession.runs import service, stored
if sys.argv[1] == "runs":
    service.send(Ask(owner="user:1", conversation_id=sys.argv[2], message_id="m", text="/stall"))
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
else:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
print("ready", flush=True)
time.sleep(60)
"""
LEFT = """
import django, sys
django.setup()
from chatsession.models import Message
from chatsession.runs import stored
answer = Message.objects.get(conversation__public_id=sys.argv[1], role="assistant")
print(stored.is_held(answer), answer.status)
"""


def script(text, database_url, *arguments):
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.Popen(command, env=environment(database_url), stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("what", ["runs", "nothing"])
def test_sigterm_ends_a_process_as_ever_but_it_gives_up_its_lease_first(database_url, what):
    process = script(SCRIPT, database_url, what, conversation := os.urandom(4).hex())
    assert process.stdout.readline() == "ready\n"

    process.terminate()
    process.communicate(timeout=20)

    assert process.returncode == -signal.SIGTERM
    if what == "runs":
        said, _ = script(LEFT, database_url, conversation).communicate(timeout=20)
        assert said.split() == ["False", "streaming"]
