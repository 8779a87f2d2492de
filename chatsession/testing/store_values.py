"""The part of a store's contract about values."""

from __future__ import annotations

from asgiref.sync import sync_to_async

from chatsession.exceptions import SessionTooLarge, ValueNotSerializable
from chatsession.testing.store_face import StoreFace


class ValuesContract(StoreFace):
    """Nothing is lost, nothing is shared, nothing half-written."""

    async def test_values_come_back(self) -> None:
        session = await self.new(text="日本語", number=1.5, nested={"a": [1, None, True]})
        self.assertEqual(
            await self.stored(session), {"text": "日本語", "number": 1.5, "nested": {"a": [1, None, True]}}
        )

    async def test_no_value_is_shared_between_requests(self) -> None:
        session = await self.new(a=[1])
        other = await self.open(session)
        other["a"].append(2)
        self.assertEqual(await self.stored(session), {"a": [1]})

    async def test_writers_of_different_keys_keep_each_others(self) -> None:
        session = await self.new(a=1, b=1, c=1)
        first, second = await self.open(session), await self.open(session)
        first["a"], second["b"] = 2, 2
        del second["c"]
        await self.do(first, "save")
        await self.do(second, "save")
        self.assertEqual(await self.stored(session), {"a": 2, "b": 2})

    async def test_a_nested_change_is_seen(self) -> None:
        session = await self.new(a=[1], b={"c": {}})
        other = await self.open(session)
        other["b"]["c"]["d"] = 1
        self.assertIs(await self.do(other, "commit"), True)
        self.assertEqual(await self.stored(session), {"a": [1], "b": {"c": {"d": 1}}})

    async def test_a_reader_writes_nothing(self) -> None:
        session = await self.new(a=[1])
        reader, writer = await self.open(session), await self.open(session)
        self.assertEqual(reader["a"], [1])
        writer["a"] = [2]
        await self.do(writer, "save")
        self.assertIs(await self.do(reader, "commit"), False)
        self.assertEqual(await self.stored(session), {"a": [2]})

    async def test_what_was_saved_is_not_saved_again(self) -> None:
        session = await self.new(a=1)
        other = await self.open(session)
        other["a"] = 2
        await self.do(other, "save")
        session["b"] = 1
        await self.do(session, "save")
        self.assertEqual(await self.stored(session), {"a": 2, "b": 1})

    async def test_auth_keys_move_as_one_group(self) -> None:
        session = await self.new(_auth_user_id="1", _auth_user_backend="b", _auth_user_hash="h")
        alice, bob = await self.open(session), await self.open(session)
        alice["_auth_user_id"], bob["_auth_user_hash"] = "2", "i"
        await self.do(bob, "save")
        await self.do(alice, "save")
        self.assertEqual(
            await self.stored(session),
            {"_auth_user_id": "2", "_auth_user_backend": "b", "_auth_user_hash": "h"},
        )
        info = await sync_to_async(self.store.info)(session.handle)
        self.assertEqual(info and info.user_id, "2")

    async def test_mutate_sees_the_present_value(self) -> None:
        session = await self.new(n=1, other="kept")
        stale = await self.open(session)
        await self.do(session, "mutate", "n", lambda n: n + 1)
        self.assertEqual(await self.do(stale, "mutate", "n", lambda n: n + 1), 3)
        stale["b"] = 1
        await self.do(stale, "save")
        self.assertEqual(await self.stored(session), {"n": 3, "other": "kept", "b": 1})

    async def test_mutate_starts_from_an_unsaved_value(self) -> None:
        session = await self.new(n=1)
        session["n"] = 10
        self.assertEqual(await self.do(session, "mutate", "n", lambda n: n + 1), 11)
        self.assertEqual(await self.stored(session), {"n": 11})

    async def test_mutate_without_a_record_is_an_assignment(self) -> None:
        session = self.store()
        self.assertEqual(await self.do(session, "mutate", "n", lambda n: n + 1, 1), 2)
        self.assertEqual((session["n"], session.session_key, session.modified), (2, None, True))

    async def test_a_value_that_cannot_be_encoded_is_named_before_anything_is_written(self) -> None:
        session = await self.new(a=1)
        session["a"], session["bad"] = 2, object()
        with self.assertRaisesMessage(ValueNotSerializable, "'bad'"):
            await self.do(session, "save")
        self.assertEqual(await self.stored(session), {"a": 1})

    async def test_a_session_that_is_too_large_is_refused_with_its_size(self) -> None:
        session = await self.new(a=1)
        session["big"] = "x" * 1000
        with self.having(MAX_SESSION_BYTES=1000):
            with self.assertRaisesMessage(SessionTooLarge, "1007 bytes"):
                await self.do(session, "save")
            with self.assertRaises(SessionTooLarge):
                await self.new(big="x" * 1000)
        self.assertEqual(await self.stored(session), {"a": 1})
