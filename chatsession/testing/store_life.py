"""The part of a store's contract about a session's life: keys, deletion, expiry, screens, signals."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.dispatch import Signal
from django.test import override_settings

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
