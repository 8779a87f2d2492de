from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.django_sessions_tests import FETCH, SDIST_TESTS, fetch


@pytest.mark.parametrize("engine", ["chatsession.stores.db", "chatsession.stores.memory"])
def test_djangos_own_session_tests_pass(engine):
    if "CI" in os.environ:
        fetch()
    elif not SDIST_TESTS.is_dir():
        pytest.skip(f"Django's tests are not in its wheel; bring its sdist with: {FETCH}")
    command = [sys.executable, "-W", "error", "-m", "tests.django_sessions_tests", engine]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0, run.stdout
