from __future__ import annotations

from unittest import mock

from asgiref.sync import sync_to_async
from django.test import TransactionTestCase

from chatsession.stores import steps
from chatsession.stores.db import SessionStore


class HopTests(TransactionTestCase):
    """A store that blocks does its I/O in a thread. Nothing else goes there."""

    async def test_a_read_takes_one_and_a_commit_without_a_write_none(self):
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        with mock.patch.object(steps, "sync_to_async", side_effect=sync_to_async) as hop:
            session = SessionStore(session.session_key)
            assert await session.aget("a") == 1
            assert hop.call_count == 1
            assert await session.acommit() is False
            assert hop.call_count == 1
            await session.aset("a", 2)
            assert await session.acommit() is True
            assert hop.call_count == 2
        assert await SessionStore(session.session_key).aget("a") == 2
