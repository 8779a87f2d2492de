"""The short form of the storm; ``python -m tests.faults --help`` tells of the long one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from demo_project.steps import lacks_postgres

pytestmark = pytest.mark.matrix


@pytest.mark.parametrize(
    ("server", "database", "options"),
    [
        ("uvicorn", "sqlite", []),
        ("gunicorn", "postgres", ["--redis", "4"]),
        ("uvicorn", "sqlite", ["--redis", "4", "--sessions", "redis"]),
    ],
    ids=["uvicorn-sqlite", "gunicorn-postgres-redis", "uvicorn-sqlite-sessions-in-redis"],
)
def test_servers_are_killed_and_nothing_is_lost_stuck_garbled_or_doubled(server, database, options):
    if database == "postgres" and (lacks := lacks_postgres()):
        (pytest.fail if "CI" in os.environ else pytest.skip)(lacks)
    storm = ["tests.faults", "--server", server, "--database", database, "--conversations", "12", *options]
    blown = subprocess.run(
        [sys.executable, "-m", *storm, "--kills", "6", "--pace", "2", "--lease", "4"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    print(blown.stdout, blown.stderr)
    assert blown.returncode == 0
    assert "       6  kills" in blown.stdout
