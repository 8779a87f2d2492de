"""A process with many writers of one session: ``python -m tests.writers <session key> <first> <count>``.

It prints a line when all have loaded the session, and lets them write when it is given one.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Barrier

import django
from django.conf import settings


def main(session_key, first, count):
    django.setup()
    from django.db import connections

    SessionStore = import_module(settings.SESSION_ENGINE).SessionStore
    ready = Barrier(count + 1)

    def write(number):
        try:
            session = SessionStore(session_key)
            assert "n" in session
            ready.wait(60)
            ready.wait(60)
            session[f"own {number}"] = number
            session.save()
            session.mutate("n", lambda n: n + 1)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        writers = [pool.submit(write, first + n) for n in range(count)]
        ready.wait(60)
        print("ready", flush=True)
        sys.stdin.readline()
        ready.wait(60)
        for writer in writers:
            writer.result()


class TwoProcesses:
    """For a TestCase of a ``store``, which ``environment()`` chooses for another process."""

    def test_writers_in_two_processes_lose_nothing(self):
        session = self.store()
        session["n"] = 0
        session.save()
        writers = [self.process(session.session_key, first=n * 25) for n in range(2)]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            assert (writer.communicate(timeout=120)[0], writer.returncode) == ("", 0)
        own = {f"own {number}": number for number in range(50)}
        assert dict(self.store(session.session_key)) == {"n": 50, **own}

    def process(self, session_key, *, first):
        command = [sys.executable, "-m", "tests.writers", session_key, str(first), "25"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment(),
        )
        self.addCleanup(process.kill)
        return process


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
