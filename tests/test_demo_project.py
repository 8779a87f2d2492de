from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from urllib.parse import urlencode

import pytest
import redis

from demo_project.start import ROOT, is_free
from demo_project.steps import lacks_postgres
from tests import redis_server
from tests.faults.__main__ import database
from tests.processes import ask, free_port, request, serving
from tests.test_hosts import Guest, read

pytestmark = pytest.mark.server
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
SERVERS = {
    "uvicorn": "-m uvicorn demo_project.asgi:application --port {}",
    "gunicorn": "-m gunicorn demo_project.wsgi --worker-class gthread --threads 4 --bind 127.0.0.1:{}",
}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A fresh checkout whose installation is done; its venv is the one that runs the tests."""
    monkeypatch.delenv("DJANGO", raising=False)
    left_out = shutil.ignore_patterns(".secret_key*", "*.sqlite3*", "__pycache__", "static_root")
    shutil.copytree(ROOT / "demo_project", tmp_path / "demo_project", ignore=left_out)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "chatsession").symlink_to(ROOT / "chatsession")
    spec = importlib.util.spec_from_file_location("start_of_clone", tmp_path / "demo_project" / "start.py")
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    start.PYTHON.parent.mkdir(parents=True)
    start.PYTHON.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    start.PYTHON.chmod(0o755)
    installed = [str(tmp_path), f"{tmp_path}[redis]"]
    start.STAMPS.write_text("\n".join(start.stamp_of(["-e", package]) for package in installed))
    return tmp_path


def run(clone, command, port, **variables):
    """The command, whose environment holds the variables and nothing of the tests'."""
    return serving([sys.executable, *command], port, env=ENVIRONMENT | variables, cwd=clone)


def migrate(clone, **variables):
    command = [sys.executable, "demo_project/manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=clone, env=ENVIRONMENT | variables, check=True)


def demo(clone, port, **variables):
    return run(clone, ["demo_project/start.py", "demo"], port, PORT=str(port), **variables)


def end(server):
    """What the server has said, ended as by Ctrl-C."""
    server.send_signal(signal.SIGINT)
    said, _ = server.communicate(timeout=10)
    assert server.returncode == 0, said
    return said


def log_in(port, password):
    form = request(port, "GET", "/accounts/login/")
    token = re.search("csrftoken=(\\w+)", form.headers["Set-Cookie"])[1]
    body = urlencode(
        {"username": "admin", "password": password, "csrfmiddlewaretoken": token, "next": "/chat/"}
    )
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": f"csrftoken={token}"}
    return request(port, "POST", "/accounts/login/", body=body, headers=headers)


def session_cookie(response):
    """The attributes of the session's Set-Cookie, as they are on the wire."""
    [cookie] = [line for line in response.headers.get_all("Set-Cookie") if line.startswith("sessionid=")]
    return {attribute.strip() for attribute in cookie.split(";")[1:]}


def test_the_password_is_shown_once_and_opens_the_admin(clone):
    port = free_port()
    with demo(clone, port) as server:
        said = end(server)
    assert f"http://127.0.0.1:{port}/chat/" in said
    assert f"http://127.0.0.1:{port}/admin/" in said
    password = re.search("user admin, password (\\S+)", said)[1]
    with demo(clone, port) as server:
        response = log_in(port, password)
        assert "password" not in end(server)
    assert (response.status, response.headers["Location"]) == (302, "/chat/")
    assert is_free("127.0.0.1", port)


@pytest.mark.parametrize(
    ("variables", "says", "secure"),
    [
        ({"DEMO_STORE": "db", "LC_ALL": "ja_JP.UTF-8", "PYTHONUTF8": "1"}, "パスワード of my own", set()),
        ({"DEMO_STORE": "memory", "DEBUG": "0"}, "password of my own", {"Secure"}),
    ],
    ids=["db", "memory"],
)
def test_a_chat_and_a_login_that_last_as_long_as_the_browser(clone, variables, says, secure):
    port = free_port()
    with demo(clone, port, DEMO_ADMIN_PASSWORD="of my own", **variables) as server:
        assert request(port, "GET", "/").headers["Location"] == "/chat/"
        assert '<html lang="ja"' in request(port, "GET", "/chat/", headers={"Accept-Language": "ja"}).text
        assert ask(port, "/echo Hello, you!") == "Hello, you!"
        response = log_in(port, "of my own")
        assert says in end(server)
    assert session_cookie(response) == {"HttpOnly", "SameSite=Lax", "Path=/"} | secure


def test_a_url_of_redis_puts_the_sessions_there(clone):
    redis_server.clean(url := redis_server.needed())
    port = free_port()
    with demo(clone, port, REDIS_URL=url) as server, redis.Redis.from_url(url) as connection:
        assert ask(port, "/echo Hello, you!") == "Hello, you!"
        end(server)
        assert len(list(connection.scan_iter("chatsession:session:*"))) == 1


@pytest.mark.parametrize("server", SERVERS)
def test_other_servers_serve_it_too(clone, server):
    migrate(clone)
    port = free_port()
    with run(clone, SERVERS[server].format(port).split(), port):
        assert ask(port, "/echo Hello, you!") == "Hello, you!"
        stylesheet = re.search('/static/[^"]*\\.css', request(port, "GET", "/chat/").text)[0]
        assert request(port, "GET", stylesheet).headers["Content-Type"] == "text/css"


@pytest.mark.matrix
def test_two_processes_on_postgresql_and_redis_by_the_environment_alone(clone, tmp_path):
    if lacks := lacks_postgres():
        redis_server.missing(lacks)
    redis_server.clean(url := redis_server.needed())
    here, there = free_port(), free_port()
    with database("postgres", tmp_path) as database_url, redis.Redis.from_url(url) as connection:
        variables = {"DATABASE_URL": database_url, "REDIS_URL": url}
        migrate(clone, **variables)
        with (
            run(clone, SERVERS["uvicorn"].format(here).split(), here, **variables),
            run(clone, SERVERS["uvicorn"].format(there).split(), there, **variables),
        ):
            guest = Guest(here)
            first = guest.send(here, "/slow 100")
            followed = read(guest.follow(there))
            assert followed.end == "finish"
            assert followed.text == read(first).text
            kinds = {key.split(b":")[1] for key in connection.scan_iter("chatsession:*")}
            assert {b"session", b"run"} <= kinds  # the sessions are there, and the answer came that way
