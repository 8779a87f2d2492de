"""A process with many writers of one session: ``python -m tests.writers <session key> <first> <count>``.

It prints a line when all have loaded the session, and lets them write when it is given one.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import django


def main(session_key, first, count):
    django.setup()
    from django.db import connections

    from chatsession.stores.db import SessionStore

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


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
