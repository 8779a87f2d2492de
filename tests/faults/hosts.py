"""A server of two workers, and the hand that kills them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.processes import free_port, wait_for

COMMANDS = {
    "gunicorn": "gunicorn tests.wsgi --workers=2 --worker-class=gthread --threads=64 --bind=127.0.0.1:{port}",
    "uvicorn": "uvicorn tests.asgi:application --workers=2 --log-level=warning --port={port}",
}


@contextmanager
def serve(server, database_url, lease, log):
    """(process, port) of a server on a migrated database."""
    variables = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "TEST_DATABASE_URL": database_url}
    environment = os.environ | variables | {"TEST_LEASE": str(lease), "PYTHONWARNINGS": "ignore"}
    port = free_port()
    command = [sys.executable, "-m", *COMMANDS[server].format(port=port).split()]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_for(process, port)
        yield process, port
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def workers(process):
    """The IDs of a server's worker processes, by Linux's /proc."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if is_worker(pid)]


def is_worker(pid):
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
    return bool(command) and "resource_tracker" not in command


def kill(pid):
    os.kill(pid, signal.SIGKILL)
