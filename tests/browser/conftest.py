"""Chromium, and the demo on servers of several kinds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.browser.visitor import Visitor
from tests.processes import free_port, serving

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
UVICORN = "-m uvicorn demo_project.asgi:application --log-level error --port {port}"
SERVERS = {
    "uvicorn": UVICORN,
    "runserver": "demo_project/manage.py runserver --noreload -v0 127.0.0.1:{port}",
    "one seat": UVICORN,
}
SEATS = {"one seat": "1"}
USER, PASSWORD = "hanako", "a password of the tests"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def chromium():
    """A browser, for these tests only: Playwright's loop is in the way of other tests' database."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        (pytest.fail if "CI" in os.environ else pytest.skip)(
            "no Chromium: apt-get install chromium fonts-noto-cjk"
        )
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def servers(tmp_path_factory):
    """``servers(kind)``: the address of the demo on that server, started when it is first asked for."""
    folder = tmp_path_factory.mktemp("site")
    environment = {
        **{k: v for k, v in os.environ.items() if k != "DEBUG"},
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "SECRET_KEY": "a key of the browser tests",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        "DJANGO_SETTINGS_MODULE": "tests.browser.settings",
        "PYTHONWARNINGS": "ignore",
        "SEATS": "200",
    }
    manage = [sys.executable, "demo_project/manage.py"]
    options = {"cwd": ROOT, "env": environment}
    subprocess.run([*manage, "migrate", "-v0"], check=True, **options)
    account = ["--username", USER, "--email", "", "--noinput"]
    subprocess.run([*manage, "createsuperuser", "-v0", *account], check=True, **options)
    started: dict[str, str] = {}
    with ExitStack() as stack:

        def start(kind: str) -> str:
            if kind not in started:
                port = free_port()
                command = [sys.executable, *SERVERS[kind].format(port=port).split()]
                variables = {**environment, "SEATS": SEATS.get(kind, environment["SEATS"])}
                stack.enter_context(serving(command, port, cwd=ROOT, env=variables))
                started[kind] = f"http://127.0.0.1:{port}"
            return started[kind]

        yield start


@pytest.fixture
def site(servers):
    """The demo's address."""
    return servers("uvicorn")


@pytest.fixture(params=["uvicorn", "runserver"])
def anywhere(request, servers):
    """The demo's address on one server after the other: ASGI and WSGI."""
    return servers(request.param)


@pytest.fixture(scope="package")
def profile(chromium):
    """A browser profile for one visitor after the other: what is cached is not fetched again."""
    return chromium.new_context(locale="ja-JP")


@pytest.fixture
def visitor(site, visit, profile):
    return visit(site, profile)


@pytest.fixture
def visit(chromium, profile):
    """``visit(address)``: a new visitor on the chat page, whose page must not complain.

    It has the browser profile it is given, or a new one of these ``options``.
    """
    visitors: list[Visitor] = []

    def begin(address: str, profile=None, *, locale: str = "ja-JP", **options) -> Visitor:
        context = profile or chromium.new_context(locale=locale, **options)
        visitors.append(Visitor(context, address))
        return visitors[-1]

    yield begin
    for visitor in visitors:
        visitor.leave()
        if visitor.context is not profile:
            visitor.context.close()
    assert [line for visitor in visitors for line in visitor.complaints] == []
