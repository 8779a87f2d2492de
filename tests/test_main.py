from __future__ import annotations

import os
import signal
import sys

import pytest

from demo_project.start import ROOT
from tests.processes import ask, free_port, request, serving


def test_it_is_short_enough_to_be_read():
    assert len((ROOT / "chatsession" / "__main__.py").read_text().splitlines()) <= 60


@pytest.mark.server
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_chat_and_leaves_nothing_behind(tmp_path, end):
    port = free_port()
    command = [sys.executable, "-m", "chatsession", f"127.0.0.1:{port}"]
    variables = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    variables.pop("DJANGO_SETTINGS_MODULE", None)
    with serving(command, port, cwd=tmp_path, env=variables) as server:
        page = request(port, "GET", "/chat/", headers={"Accept-Language": "ja"})
        assert page.status == 200
        assert '<html lang="ja"' in page.text
        assert request(port, "GET", "/").headers["Location"] == "/chat/"
        assert ask(port, "/echo Hello, you!") == "Hello, you!"
        assert len(list(tmp_path.iterdir())) == 1
        server.send_signal(end)
        server.communicate(timeout=10)
    assert server.returncode == 0
    assert list(tmp_path.iterdir()) == []
