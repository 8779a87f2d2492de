from __future__ import annotations

import socket
import sys

import pytest

from demo_project import start


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout, and the commands that an installation into it would run."""
    (tmp_path / "pyproject.toml").write_text("[project]")
    monkeypatch.setattr(start, "ROOT", tmp_path)
    monkeypatch.setattr(start, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(start, "STAMPS", tmp_path / "installed.txt")
    commands = []

    def run(*command):
        commands.append(command)
        start.PYTHON.touch()

    monkeypatch.setattr(start, "run", run)
    return commands


@pytest.fixture
def busy_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refusal(function, *arguments):
    with pytest.raises(SystemExit) as refused:
        function(*arguments)
    message = refused.value.code
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("variables", "beginning"),
    [
        ({"LC_ALL": "ja_JP.UTF-8", "LANG": "C"}, "使い方"),
        ({"LC_MESSAGES": "ja_JP.UTF-8", "LANG": "C"}, "使い方"),
        ({"LANG": "ja_JP.UTF-8"}, "使い方"),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "ja_JP.UTF-8"}, "Usage"),
        ({}, "Usage"),
    ],
)
def test_it_speaks_the_language_of_the_terminal(monkeypatch, variables, beginning):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, variables.get(name, ""))
    assert refusal(start.main, []).startswith(beginning)


def test_every_text_is_there_in_both_languages():
    assert start.TEXTS["ja"].keys() == start.TEXTS["en"].keys()


def test_an_unknown_command_shows_the_usage():
    assert "demo | chaos | test | test-all" in refusal(start.main, ["serve"])


def test_an_old_python_is_refused():
    assert refusal(start.need_python, (3, 10, 13)) == "Python 3.11 or newer is needed; this one is 3.10.13."


def test_a_missing_venv_module_names_the_command_that_brings_it(monkeypatch, checkout):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert refusal(start.install, []).endswith("apt-get install -y python3-venv")
    assert checkout == []


def test_a_second_start_installs_nothing(checkout):
    start.install(["a", "b"])
    venv, pip = checkout
    assert venv[1:3] == ("-m", "venv")
    assert pip[-2:] == ("a", "b")
    start.install(["a", "b"])
    assert len(checkout) == 2


def test_other_requirements_are_added_to_the_same_venv(checkout):
    start.install(["a"])
    start.install(["a", "b"])
    start.install(["a"])
    assert len(checkout) == 3


def test_a_changed_pyproject_is_installed_again(checkout):
    start.install(["a"])
    (start.ROOT / "pyproject.toml").write_text("[project]\n")
    start.install(["a"])
    assert len(checkout) == 3


def test_a_failed_installation_is_tried_again(checkout, monkeypatch):
    monkeypatch.setattr(start, "run", lambda *command: sys.exit("no network"))
    assert refusal(start.install, ["a"]) == "no network"
    assert not start.STAMPS.exists()


def test_groups_include_other_groups():
    dev = start.dependency_group("dev")
    assert set(dev) == {*start.dependency_group("test"), *start.dependency_group("lint")}
    assert all(isinstance(requirement, str) for requirement in dev)


@pytest.mark.parametrize(
    ("variables", "requirements"),
    [
        ({}, ["-e", "{root}"]),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, ["-e", "{root}[openai]"]),
        ({"OPENAI_API_KEY": "k"}, ["-e", "{root}[openai]"]),
        ({"DATABASE_URL": "postgres://127.0.0.1/chat"}, ["-e", "{root}", "psycopg[binary]"]),
        ({"REDIS_URL": "redis://r"}, ["-e", "{root}[redis]"]),
        ({"REDIS_URL": "redis://r", "OPENAI_API_KEY": "k"}, ["-e", "{root}[openai,redis]"]),
    ],
)
def test_the_demo_installs_what_the_environment_asks_for(monkeypatch, variables, requirements):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "DATABASE_URL", "REDIS_URL"):
        monkeypatch.setenv(name, variables.get(name, ""))
    assert start.demo_requirements() == [part.format(root=start.ROOT) for part in requirements]


def test_a_busy_default_port_takes_the_next(monkeypatch, busy_port):
    monkeypatch.setattr(start, "DEFAULT_PORTS", range(busy_port, busy_port + 20))
    assert start.choose_port("127.0.0.1", None) > busy_port


def test_no_free_port_is_one_line(monkeypatch, busy_port):
    monkeypatch.setattr(start, "DEFAULT_PORTS", range(busy_port, busy_port + 1))
    assert "choose another with PORT" in refusal(start.choose_port, "127.0.0.1", None)


def test_a_busy_port_that_was_asked_for_is_one_line(busy_port):
    message = refusal(start.choose_port, "127.0.0.1", str(busy_port))
    assert message == f"Port {busy_port} of 127.0.0.1 is in use, or not allowed."


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_that_is_none_is_one_line(port):
    assert refusal(start.choose_port, "127.0.0.1", port).startswith("PORT must be a number")
