"""The test site on real servers: ``with serve("uvicorn", DATABASE_URL) as port``."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

from tests.processes import free_port, serving

ASGI, WSGI = "tests.asgi:application", "tests.wsgi:application"
COMMANDS = {
    "uvicorn": ["uvicorn", ASGI, "--host=127.0.0.1", "--port={port}", "--log-level=warning"],
    "daphne": ["daphne", "--bind=127.0.0.1", "--port={port}", "--verbosity=0", ASGI],
    "hypercorn": ["hypercorn", "--bind=127.0.0.1:{port}", ASGI],
    "gunicorn": ["gunicorn", WSGI, "--worker-class=gthread", "--threads=8", "--bind=127.0.0.1:{port}"],
    "runserver": ["django", "runserver", "--noreload", "127.0.0.1:{port}"],
}


def environment(database_url, **variables):
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TEST_DATABASE_URL": database_url,
        **variables,
    }


def migrate(database_url, **variables):
    command = [sys.executable, "-m", "django", "migrate", "--verbosity=0"]
    subprocess.run(command, env=environment(database_url, **variables), check=True)


@contextmanager
def serve(server, database_url, **variables):
    """The port on which ``server`` serves the test site, from a migrated database, until the block ends.

    "uvicorn+handoff" and the like serve it under ``StreamHandoff``.
    """
    port, (server, _, handoff) = free_port(), server.partition("+")
    variables["TEST_HANDOFF"] = handoff
    command = [sys.executable, "-m", *(part.format(port=port) for part in COMMANDS[server])]
    with serving(command, port, env=environment(database_url, **variables)):
        yield port
