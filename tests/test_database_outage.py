"""PostgreSQL is stopped and started again under traffic."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.processes import PATIENCE, free_port, request, serving
from tests.servers import COMMANDS, environment, migrate

INITDB = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
OUTAGES, AWAY = 3, 1.5  # times, seconds

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.skipif(INITDB is None, reason="no initdb: apt-get install postgresql"),
]


class Cluster:
    """A PostgreSQL of its own in a folder; root has to be somebody else for it."""

    def __init__(self, folder: Path) -> None:
        self.data, self.log, self.port = folder / "data", folder / "log", free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        self._run("initdb", "--username=postgres", "--auth=trust", "--no-sync")

    def start(self) -> None:
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self.log}", f"--options={settings}")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")

    def query(self, sql: str) -> list[tuple]:
        with psycopg.connect(self.url.replace("postgres:", "postgresql:", 1)) as connection:
            return connection.execute(sql).fetchall()

    def _run(self, program: str, *arguments: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*user, INITDB.with_name(program), f"--pgdata={self.data}", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        cluster.start()
        migrate(cluster.url)
        yield cluster
        cluster.stop()


class Visitor:
    """One session; notes what it is answered. ``go_on()`` acts in a thread until it is told to end."""

    def __init__(self, port: int) -> None:
        self.port, self.answers, self.stored = port, Counter(), []
        page = request(port, "GET", "/chat/")
        cookies = dict(line.split(";")[0].split("=", 1) for line in page.headers.get_all("Set-Cookie"))
        self.headers = {
            "Content-Type": "application/json",
            "Cookie": "; ".join(map("=".join, cookies.items())),
            "X-CSRFToken": cookies["csrftoken"],
        }
        self.end, self.failure = threading.Event(), None

    def go_on(self, act) -> None:
        self.thread = threading.Thread(target=self._go, args=[act], daemon=True)
        self.thread.start()

    def _go(self, act) -> None:
        try:
            for number in count():
                while not act(number):
                    if self.end.wait(0.02):
                        return
                self.stored.append(number)
                if self.end.is_set():
                    return
        except Exception as failure:
            self.failure = failure

    def ask(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        data = json.dumps(body) if body else None
        response = request(self.port, method, path, body=data, headers=self.headers)
        self.answers[response.status] += 1
        if response.status == 503:
            assert response.headers["Retry-After"] == "5", response.text
        return response

    def write(self, number: int) -> bool:
        """One value more in the session."""
        return self.ask("GET", f"/session/write?n{number}={number}").status == 200

    def chat(self, number: int) -> bool:
        """One turn more, or the same again; whether it was answered to the end."""
        message = {"id": f"m{number}", "parts": [{"type": "text", "text": f"/echo {number}"}]}
        try:
            response = self.ask("POST", "/chat/api/chat", {"id": "c", "message": message})
        except http.client.IncompleteRead:
            return False  # an answer whose end could not be stored has no end
        if response.status == 503:
            assert json.loads(response.text)["error"]["code"] == "unavailable"
        return response.status == 200 and '"type":"finish"' in response.text


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn"])
def test_it_answers_503_meanwhile_and_goes_on_by_itself(server, cluster, tmp_path):
    port = free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in COMMANDS[server])]
    with (
        (tmp_path / "log").open("w") as log,
        serving(command, port, env=environment(cluster.url), stdout=log),
    ):
        writers, talkers = [Visitor(port), Visitor(port)], [Visitor(port), Visitor(port)]
        visitors, newcomer = [*writers, *talkers], Visitor(port)
        for visitor in visitors:
            visitor.go_on(visitor.write if visitor in writers else visitor.chat)
        for number in range(OUTAGES):
            wait_for_more(visitors, 200)
            cluster.stop()
            try:
                wait_for_more(writers, 503)
                assert not newcomer.chat(number)
                time.sleep(AWAY)
            finally:
                cluster.start()
            assert newcomer.chat(number)
            newcomer.stored.append(number)
        wait_for_more(visitors, 200)
        for visitor in visitors:
            visitor.end.set()
        for visitor in visitors:
            visitor.thread.join(PATIENCE)
        assert [visitor.failure for visitor in visitors] == [None] * 4
        assert {status for visitor in visitors for status in visitor.answers} <= {200, 409, 503}

        for visitor in writers:
            session = json.loads(visitor.ask("GET", "/session/dump").text)
            kept = {int(key.removeprefix("n")) for key in session if key.startswith("n")}
            assert set(visitor.stored) <= kept
            assert all(session[f"n{number}"] == str(number) for number in kept)
        assert newcomer.answers == {200: OUTAGES, 503: OUTAGES}
        for visitor in (*talkers, newcomer):
            assert_whole(visitor)
    assert cluster.query("SELECT public_id FROM chatsession_conversation WHERE active_run <> ''") == []


def wait_for_more(visitors: list[Visitor], status: int) -> None:
    """Until each of them has been answered so three times more."""
    wanted = [visitor.answers[status] + 3 for visitor in visitors]
    deadline = time.monotonic() + PATIENCE
    while any(v.answers[status] < number for v, number in zip(visitors, wanted, strict=True)):
        assert [visitor.failure for visitor in visitors] == [None] * len(visitors)
        assert time.monotonic() < deadline, [visitor.answers for visitor in visitors]
        time.sleep(0.05)


def assert_whole(visitor: Visitor) -> None:
    """What was answered to the end is there once, and every question has its answer."""
    file = json.loads(visitor.ask("GET", "/chat/api/export").text)
    [conversation] = file["conversations"]
    questions = [m for m in conversation["messages"] if m["role"] == "user"]
    answers = [m for m in conversation["messages"] if m["role"] == "assistant"]
    assert [m["id"] for m in questions] == [f"m{number}" for number in range(len(questions))]
    assert len(questions) - len(visitor.stored) in (0, 1)
    for number in visitor.stored:
        texts = [m["parts"] for m in answers if m["parentId"] == f"m{number}" and m["status"] == "complete"]
        assert texts == [[{"type": "text", "text": str(number)}]]
    assert {m["parentId"] for m in answers} == {m["id"] for m in questions}
