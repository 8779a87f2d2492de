from __future__ import annotations

import threading

import pytest
from django.db import connection, connections, transaction

from chatsession.connections import release, writing
from chatsession.models import Worker

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="others know many writers"),
]


@pytest.fixture
def impatient(monkeypatch):
    """Connections of new threads, on which SQLite gives up a lock at once."""
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", {"timeout": 0})


def insert(token: str) -> None:
    Worker.objects.create(token=token, renewed_at="2026-01-01T00:00Z")


class Writer(threading.Thread):
    """Writes a row and keeps its transaction open until it is told to end."""

    def __init__(self, token: str, done: list[str], **options: bool) -> None:
        super().__init__(daemon=True)
        self.token, self.done, self.options = token, done, options
        self.inside, self.end = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        try:
            with writing("default", **self.options):
                insert(self.token)
                self.inside.set()
                assert self.end.wait(10)
                self.done.append(self.token)
        finally:
            release()


def test_without_turns_a_second_writer_fails(impatient):
    first = Writer("first", [])
    assert first.inside.wait(5)
    errors = []

    def second() -> None:
        try:
            insert("second")
        except Exception as error:
            errors.append(str(error))
        finally:
            release()

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    first.end.set()
    first.join()

    assert errors == ["database is locked"]


def test_writers_of_one_process_take_turns(impatient):
    done: list[str] = []
    writers = [Writer(str(number), done) for number in range(20)]
    for writer in writers:
        writer.end.set()
    for writer in writers:
        writer.join(10)

    assert len(done) == Worker.objects.count() == 20


def test_who_may_go_first_is_the_next(impatient):
    done: list[str] = []
    begun = Writer("begun", done)
    assert begun.inside.wait(5)
    others = [Writer(str(number), done) for number in range(5)]
    ticker = Writer("ticker", done, first=True)
    for writer in (*others, ticker):
        assert not writer.inside.wait(0.02)
        writer.end.set()
    begun.end.set()
    for writer in (begun, *others, ticker):
        writer.join(10)

    # One that has left the queue already may come before.
    assert "ticker" in done[1:3]


def test_an_open_transaction_waits_for_nobody():
    held = Writer("held", [], first=True)
    assert held.inside.wait(5)
    with transaction.atomic(), writing("default"):
        assert Worker.objects.count() == 0
    held.end.set()
    held.join()
