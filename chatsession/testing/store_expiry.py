"""The part of a store's contract about the ages at which a session ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

from django.test import override_settings
from django.utils import timezone

from chatsession.stores.base import BaseStore, Cause
from chatsession.testing.store_face import StoreFace


class ExpiryContract(StoreFace):
    """A session lives for as long as it is used, unless it was told otherwise."""

    async def test_an_expired_session_is_refused_and_removed(self) -> None:
        session = self.store()
        session["a"] = 1
        session.set_expiry(-timedelta(seconds=1))
        await self.do(session, "save")
        other = await self.open(session)
        self.assertEqual((dict(other), other.session_key, other.cause), ({}, None, Cause.EXPIRED))
        self.assertIs(await self.do(session, "exists", session.session_key), False)

    async def test_clear_expired_leaves_the_valid(self) -> None:
        valid, expired = await self.new(a=1), await self.new(b=1)
        expired.set_expiry(-1)
        await self.do(expired, "save")
        await self.do(valid, "clear_expired")
        self.assertIs(await self.do(valid, "exists", valid.session_key), True)
        self.assertIs(await self.do(valid, "exists", expired.session_key), False)

    async def test_a_read_moves_the_expiry_once_in_a_while(self) -> None:
        session = await self.new(a=1)
        before = await self.info(session)
        await self.read_after(session, seconds=59)
        self.assertEqual(await self.info(session), before)
        await self.read_after(session, seconds=61)
        after = await self.info(session)
        self.assertEqual(after.expires_at - before.expires_at, after.last_seen_at - before.last_seen_at)
        self.assertGreaterEqual(after.last_seen_at - before.last_seen_at, timedelta(seconds=61))

    async def test_a_write_moves_the_expiry_as_seldom_as_a_read(self) -> None:
        session = await self.new(a=1)
        before = await self.info(session)
        for ahead, moves in ((2, False), (61, True)):
            with self.later(seconds=ahead):
                await self.write_elsewhere(session, ahead)
                await self.do(session, "mutate", "n", str)
            after = await self.info(session)
            self.assertEqual(after.expires_at > before.expires_at, moves)
            self.assertEqual(after.last_seen_at > before.last_seen_at, moves)

    async def test_a_write_moves_an_expiry_that_is_set_or_meant_to_move(self) -> None:
        session = await self.new(a=1)
        before = (await self.info(session)).expires_at
        with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
            await self.write_elsewhere(session, 2)
        after = (await self.info(session)).expires_at
        self.assertGreater(after, before)
        session.set_expiry(1_000_000)
        await self.do(session, "save")
        self.assertNotEqual((await self.info(session)).expires_at, after)

    async def write_elsewhere(self, session: BaseStore, value: int) -> None:
        """What another request does."""
        other = await self.open(session)
        other["a"] = value
        await self.do(other, "save")

    async def test_a_fixed_expiry_does_not_move(self) -> None:
        end = timezone.now() + timedelta(hours=1)
        session = await self.new(a=1)
        session.set_expiry(end)
        await self.do(session, "save")
        await self.read_after(session, seconds=61)
        session["a"] = 2
        await self.do(session, "save")
        self.assertEqual((await self.info(session)).expires_at, end)

    async def test_an_absolute_age_ends_a_session_that_is_in_use(self) -> None:
        with self.having(ABSOLUTE_AGE=100):
            session = await self.new(a=1)
            await self.read_after(session, seconds=61)
            info = await self.info(session)
            self.assertEqual((info.expires_at - info.created_at).total_seconds(), 100)
            with self.later(seconds=101):
                other = await self.open(session)
            self.assertEqual((dict(other), other.cause), ({}, Cause.EXPIRED))
            self.assertIs(await self.do(session, "exists", session.session_key), False)

    async def test_an_absolute_age_that_was_set_later_holds_for_older_records(self) -> None:
        session = await self.new(a=1)
        with self.having(ABSOLUTE_AGE=100), self.later(seconds=101):
            self.assertIsNone(await self.info(session))
            self.assertIs((await self.open(session)).cause, Cause.EXPIRED)
        self.assertIs(await self.do(session, "exists", session.session_key), False)

    async def test_a_login_and_nothing_else_restarts_the_absolute_age(self) -> None:
        with self.having(ABSOLUTE_AGE=100):
            session = await self.new(_auth_user_id="7")
            before = (await self.info(session)).expires_at
            with self.later(seconds=50):
                again = await self.open(session)
                again["a"] = 1
                again["_auth_user_hash"] = "another password"
                await self.do(again, "cycle_key")
                await self.do(again, "save")
                self.assertEqual((await self.info(again)).expires_at, before)
                again["_auth_user_id"] = "7"
                await self.do(again, "commit")
            self.assertGreater(((await self.info(again)).expires_at - before).total_seconds(), 49)

    async def test_another_request_does_not_undo_an_expiry(self) -> None:
        session = await self.new(a=1)
        other = await self.open(session)
        session.set_expiry(10)
        await self.do(session, "save")
        other["b"] = 1
        await self.do(other, "save")
        info = await self.info(session)
        self.assertLess(info.expires_at - timezone.now(), timedelta(seconds=11))

    async def read_after(self, session: BaseStore, *, seconds: int) -> None:
        with self.later(seconds=seconds):
            await self.do(await self.open(session), "commit")

    def later(self, *, seconds: int) -> Any:
        return mock.patch.object(timezone, "now", return_value=timezone.now() + timedelta(seconds=seconds))
