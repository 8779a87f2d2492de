from __future__ import annotations

import sys

import pytest

from demo_project import steps


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    monkeypatch.delenv("CI", raising=False)


def step(script, **arguments):
    return steps.Step("a step", [sys.executable, "-c", script], **arguments)


def test_a_step_tells_how_it_went(capfd):
    line, failed = steps.run(step("print('its own words')"))
    assert not failed
    assert line.startswith("ok  a step  ")
    assert "its own words" in capfd.readouterr().out


def test_a_step_has_variables_of_its_own():
    assert (
        steps.run(step("import os; assert os.environ['COLOUR'] == 'red'", variables={"COLOUR": "red"}))[1]
        is False
    )


def test_a_step_that_fails_is_told_and_counted():
    line, failed = steps.run(step("raise SystemExit(3)"))
    assert failed
    assert line.startswith("FAILED  a step")


def test_what_a_machine_lacks_is_skipped():
    line, failed = steps.run(step("raise SystemExit(3)", lacks="no Chromium: apt-get install chromium"))
    assert (line, failed) == ("skipped  a step: no Chromium: apt-get install chromium", False)


def test_on_ci_nothing_may_be_lacking(monkeypatch):
    monkeypatch.setenv("CI", "true")
    line, failed = steps.run(step("", lacks="no Chromium"))
    assert (line, failed) == ("FAILED  a step: no Chromium", True)


@pytest.mark.parametrize(("scripts", "status"), [(["", ""], 0), (["raise SystemExit(3)", ""], 1)])
def test_one_failure_fails_it_all(monkeypatch, capfd, scripts, status):
    monkeypatch.setattr(steps, "static_steps", lambda: map(step, scripts))
    monkeypatch.setattr(steps, "packages", list)
    monkeypatch.setattr(steps, "test_steps", list)
    monkeypatch.delenv("DJANGO", raising=False)
    assert steps.main(everything=False) == status
    assert capfd.readouterr().out.count("a step  ") == len(scripts)


def test_a_python_that_does_not_run_is_not_taken(monkeypatch, tmp_path):
    broken = tmp_path / "python3.12"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert steps.python("3.12") is None


def test_a_server_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(steps, "POSTGRES", "postgres://nobody@127.0.0.1:1")
    assert "apt-get install postgresql" in steps.lacks_postgres()


@pytest.fixture
def clients(monkeypatch, tmp_path):
    monkeypatch.setattr(steps, "CLIENTS", tmp_path)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "package-lock.json").write_text('{"packages": {"": {}, "node_modules/ai": {"version": "2"}}}')
    return tmp_path / "node_modules" / ".package-lock.json"


@pytest.mark.parametrize(("version", "there"), [("2", True), ("1", False)])
def test_clients_are_installed_unless_they_are_what_the_lock_wants(clients, version, there):
    assert not steps.client_packages_are_there()
    clients.write_text(f'{{"packages": {{"node_modules/ai": {{"version": "{version}"}}}}}}')
    assert steps.client_packages_are_there() is there
    names = [found.name for found in steps.packages()]
    assert ("npm packages" in names) is not there
