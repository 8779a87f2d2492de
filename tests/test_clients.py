"""The API's clients as their makers publish them, on servers as sites run them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.settings import CHATSESSION
from tests.servers import migrate, serve

pytestmark = pytest.mark.server

FOLDER = Path(__file__).parent / "clients"
PATIENCE = 120  # seconds


def lacks():
    if not shutil.which("node"):
        return "no Node 20 or later: apt-get install nodejs npm"
    if not (FOLDER / "node_modules").is_dir():
        return "no packages of clients: npm ci --prefix tests/clients"
    return ""


@pytest.fixture(scope="module", params=["uvicorn+handoff", "gunicorn"])
def port(request, tmp_path_factory):
    if reason := lacks():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    url = f"sqlite:///{tmp_path_factory.mktemp('clients')}/db.sqlite3"
    migrate(url)
    with serve(request.param, url, DJANGO_SETTINGS_MODULE="tests.clients.settings") as port:
        yield port


@pytest.mark.parametrize("client", ["ai5", "ai6", "eventsource"])
def test_the_client_is_served(port, client):
    limit = str(CHATSESSION["MAX_STREAMS_PER_OWNER"])
    variables = {"CHAT_PORT": str(port), "CHAT_CLIENT": client, "CHAT_STREAMS": limit}
    command = [
        "node",
        "--test",
        "--test-force-exit",
        "--test-reporter=spec",
        f"{client.rstrip('56')}.test.mjs",
    ]
    run = subprocess.run(
        command, cwd=FOLDER, env=os.environ | variables, capture_output=True, text=True, timeout=PATIENCE
    )
    assert run.returncode == 0, run.stdout + run.stderr
