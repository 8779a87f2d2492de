"""``make chaos``: the worker that is writing is killed, and the text goes on before one's eyes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.browser.conftest import ROOT
from tests.processes import free_port, serving

COMMAND = "-m uvicorn demo_project.chaos.asgi:application --workers 2 --log-level error --port {port}"


@pytest.fixture
def site(tmp_path):
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "SECRET_KEY": "a key of the browser tests",
        "PYTHONWARNINGS": "ignore",
    }
    options = {"cwd": ROOT, "env": environment}
    subprocess.run([sys.executable, "demo_project/manage.py", "migrate", "-v0"], check=True, **options)
    port = free_port()
    with serving([sys.executable, *COMMAND.format(port=port).split()], port, **options):
        yield f"http://127.0.0.1:{port}"


def test_a_killed_workers_answer_goes_on_before_ones_eyes_and_ends_like_an_unkilled_one(site, visit):
    visitor = visit(site)
    visitor.expected = "ERR_|Failed to load"
    unkilled = visitor.say("/slow 1")
    visitor.send("/slow 200")
    words = visitor.first_words()

    visitor.tab.click("[data-kill]")
    visitor.until("document.body.textContent.includes(document.body.dataset.textReconnecting)")

    assert len(words) < len(unkilled)
    assert visitor.answer() == unkilled
    visitor.tab.reload()
    assert visitor.texts("user") == ["/slow 1", "/slow 200"]
    assert visitor.texts("assistant") == [unkilled, unkilled]
    assert visitor.say("/echo 生きています") == "生きています"
