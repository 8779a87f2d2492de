from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import redis_server
from tests.django_sessions_tests import FETCH, SDIST_TESTS, fetch


@pytest.mark.parametrize("store", ["db", "memory", "redis"])
def test_djangos_own_session_tests_pass(store):
    if "CI" in os.environ:
        fetch()
    elif not SDIST_TESTS.is_dir():
        pytest.skip(f"Django's tests are not in its wheel; bring its sdist with: {FETCH}")
    variables = {"TEST_REDIS": redis_server.needed()} if store == "redis" else {}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.django_sessions_tests", f"chatsession.stores.{store}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | variables,
    )
    assert run.returncode == 0, run.stdout
