"""The part of a store's contract about a session's life: keys, deletion, expiry, screens, signals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest import mock

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.dispatch import Signal
from django.test import override_settings
from django.utils import timezone

from chatsession import signals, signing
from chatsession.stores.base import BaseStore, Cause
from chatsession.stores.records import Client
from chatsession.testing.store_face import StoreFace

SIGNALS = {
    "created": signals.session_created,
    "loaded": signals.session_loaded,
    "id_changed": signals.session_id_changed,
    "expired": signals.session_expired,
    "revoked": signals.session_revoked,
}


class LifeContract(StoreFace):
    """Whoever is out stays out."""

    async def test_an_unknown_key_is_not_adopted(self) -> None:
        session = self.store("a" * 32)
        self.assertEqual(await self.do(session, "load"), {})
        self.assertIsNone(session.session_key)
        self.assertIs(session.cause, Cause.UNKNOWN_ID)
        self.assertIs(await self.do(session, "exists", "a" * 32), False)

    async def test_a_stored_hash_opens_nothing(self) -> None:
        session = await self.new(a=1)
        self.assertIsNone(self.store(signing.hash_key(session.session_key or "")).session_key)

    async def test_must_create_refuses_an_existing_record(self) -> None:
        session = await self.new(a=1)
        with self.assertRaises(CreateError):
            await self.do(self.store(session.session_key), "save", True)

    async def test_a_deleted_session_is_not_resurrected(self) -> None:
        session = await self.new(a=1)
        other = await self.open(session)
        await self.do(session, "flush")
        other["a"] = 2
        with self.assertRaises(UpdateError):
            await self.do(other, "save")
        with self.assertRaises(UpdateError):
            await self.do(other, "mutate", "n", lambda n: 1)
        self.assertEqual(await self.stored(other), {})

    async def test_a_deleted_session_does_not_trouble_a_reader(self) -> None:
        session = await self.new(a=1)
        other = await self.open(session)
        await self.do(session, "flush")
        with override_settings(SESSION_COOKIE_AGE=0):
            self.assertIs(await self.do(other, "commit"), False)

    async def test_clear_shuts_out_older_savers(self) -> None:
        session = await self.new(a=1)
        older, clearing = await self.open(session), await self.open(session)
        clearing.clear()
        clearing["b"] = 1
        await self.do(clearing, "save")
        older["a"] = 2
        with self.assertRaises(UpdateError):
            await self.do(older, "save")
        self.assertEqual(await self.stored(session), {"b": 1})

    async def test_clear_before_loading(self) -> None:
        session = await self.new(a=1)
        other = self.store(session.session_key)
        other.clear()
        await self.do(other, "save")
        self.assertEqual((await self.stored(session), other.session_key), ({}, session.session_key))

    async def test_clear_with_an_unknown_key_starts_anew(self) -> None:
        session = self.store("a" * 32)
        session.clear()
        session["a"] = 1
        await self.do(session, "save")
        self.assertNotIn(session.session_key, (None, "a" * 32))

    async def test_cycle_key_kills_the_old_key_and_keeps_the_handle(self) -> None:
        session = await self.new(a=1)
        other, old = await self.open(session), session.session_key
        await self.do(session, "cycle_key")
        self.assertIs(await self.do(session, "exists", old), False)
        self.assertEqual((await self.stored(session), other.handle), ({"a": 1}, session.handle))
        other["a"] = 2
        with self.assertRaises(UpdateError):
            await self.do(other, "save")

    async def test_cycle_key_of_a_deleted_session_carries_own_writes_only(self) -> None:
        session = await self.new(secret=1, _auth_user_id="1", _auth_user_hash="h")
        other = await self.open(session)
        await self.do(session, "flush")
        other["_auth_user_hash"], other["mine"] = "i", 1
        await self.do(other, "cycle_key")
        self.assertEqual(await self.stored(other), {"_auth_user_hash": "i", "mine": 1})

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

    async def info(self, session: BaseStore) -> Any:
        return await sync_to_async(self.store.info)(session.handle)

    async def test_screens_see_public_facts_only(self) -> None:
        session = self.store()
        session.client = Client("Firefox on a phone", "192.0.2.0")
        session["_auth_user_id"] = 7
        await self.do(session, "save")
        guest = await self.new(a=1)
        info = await self.info(session)
        self.assertEqual((info.user_id, info.user_agent, info.ip), ("7", *session.client))
        self.assertNotIn(session.session_key, repr(info))
        await self.assertListed([guest, session])
        await self.assertListed([session], user_id="7")
        await self.assertListed([session], search="fireFOX")
        await self.assertListed([session], search="192.0.2")
        await self.assertListed([guest], search=guest.handle)
        await self.assertListed([], search="Safari")

    async def assertListed(self, sessions: list[BaseStore], **query: Any) -> None:
        found = await sync_to_async(self.store.list)(**query)
        self.assertEqual([info.handle for info in found], [session.handle for session in sessions])
        self.assertEqual(await sync_to_async(self.store.count)(**query), len(sessions))

    async def test_the_list_comes_in_pages_the_last_seen_first(self) -> None:
        sessions = [await self.new(n=n) for n in range(3)]
        pages = [await sync_to_async(self.store.list)(offset=n, limit=1) for n in range(4)]
        self.assertEqual(
            [[info.handle for info in page] for page in pages],
            [[session.handle] for session in reversed(sessions)] + [[]],
        )

    async def test_revoke_ends_one_session(self) -> None:
        session, other = await self.new(a=1), await self.new(a=1)
        self.assertIs(await sync_to_async(self.store.revoke)(session.handle), True)
        self.assertIs(await sync_to_async(self.store.revoke)(session.handle), False)
        self.assertIs(await sync_to_async(self.store.revoke)("no handle"), False)
        self.assertIsNone(await self.info(session))
        self.assertEqual((await self.stored(session), await self.stored(other)), ({}, {"a": 1}))

    async def test_a_login_beyond_the_limit_ends_the_oldest(self) -> None:
        with self.having(SESSIONS_PER_USER=2):
            guest, others = await self.new(a=1), await self.new(_auth_user_id="8")
            first, second = [await self.new(_auth_user_id="7") for _ in range(2)]
            await self.do(guest, "cycle_key")
            guest["_auth_user_id"] = "7"
            self.assertIs(await self.do(guest, "commit"), True)
            self.assertIsNone(await self.info(first))
            for session in (second, guest, others):
                self.assertIsNotNone(await self.info(session))
            second["_auth_user_id"] = "7"
            await self.do(second, "save")
            await self.new(_auth_user_id="7")
            self.assertIsNone(await self.info(guest))
            self.assertIsNotNone(await self.info(second))

    async def test_a_guest_is_known_for_as_long_as_a_session_holds_the_id(self) -> None:
        session, gone = await self.new(_chatsession_guest="g"), await self.new(_chatsession_guest="gone")
        other = await self.open(session)
        await self.do(session, "cycle_key")
        await self.do(gone, "flush")
        with self.assertRaises(UpdateError):
            other["a"] = 1
            await self.do(other, "save")
        self.assertEqual(await self.guests(), {"g"})
        later = await self.open(session)
        later["a"] = 1
        await self.do(later, "save")
        self.assertEqual(await self.guests(), {"g"})
        del later["_chatsession_guest"]
        await self.do(later, "save")
        self.assertEqual(await self.guests(), set())

    async def guests(self) -> set[str]:
        return await sync_to_async(self.store.guests_among)({"g", "gone", "unknown"})

    async def test_signals_tell_the_life_of_a_session(self) -> None:
        heard: list[str] = []
        receivers = {name: self.listener(heard, name, signal) for name, signal in SIGNALS.items()}
        session = await self.new(a=1)
        await self.stored(session)
        await self.do(session, "cycle_key")
        await sync_to_async(self.store.revoke)(session.handle)
        expired = await self.new(a=1)
        expired.set_expiry(-1)
        await self.do(expired, "save")
        await self.open(expired)
        for name, receiver in receivers.items():
            SIGNALS[name].disconnect(receiver)
        self.assertEqual(heard, ["created", "loaded", "id_changed", "revoked", "created", "expired"])

    def listener(self, heard: list[str], name: str, signal: Signal) -> Any:
        def receiver(**details: Any) -> None:
            heard.append(name)

        signal.connect(receiver, sender=self.store)
        return receiver
