"""The part of a store's contract about many writers of one session."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from asgiref.sync import sync_to_async
from django.db import connections

from chatsession.stores.base import BaseStore
from chatsession.testing.store_face import StoreFace

WRITERS = 50
LOGINS = 8


class WritersContract(StoreFace):
    """Every writer has loaded the session before the first one writes."""

    async def test_threads_lose_nothing(self) -> None:
        session = await self.new(n=0)
        barrier = Barrier(WRITERS)
        with ThreadPoolExecutor(WRITERS) as pool:
            writers = [pool.submit(self.write, session.session_key, n, barrier) for n in range(WRITERS)]
        for writer in writers:
            writer.result()
        await self.assertAllWritten(session)

    def write(self, session_key: str | None, number: int, barrier: Barrier) -> None:
        try:
            session = self.store(session_key)
            session["n"]
            barrier.wait(timeout=60)
            session[f"own {number}"] = number
            session.save()
            session.mutate("n", lambda n: n + 1)
        finally:
            connections.close_all()

    async def test_racing_logins_keep_to_the_limit(self) -> None:
        barrier = Barrier(LOGINS)
        with (
            self.having(SESSIONS_PER_USER=3),
            ThreadPoolExecutor(LOGINS) as pool,
        ):
            list(pool.map(self.log_in, [barrier] * LOGINS))
        self.assertEqual(await sync_to_async(self.store.count)(user_id="7"), 3)

    def log_in(self, barrier: Barrier) -> None:
        try:
            session = self.store()
            session["_auth_user_id"] = "7"
            barrier.wait(timeout=60)
            session.save()
        finally:
            connections.close_all()

    async def test_tasks_lose_nothing(self) -> None:
        session = await self.new(n=0)
        writers = [await self.open(session) for _ in range(WRITERS)]
        await asyncio.gather(*(self.awrite(writer, number) for number, writer in enumerate(writers)))
        await self.assertAllWritten(session)

    async def awrite(self, session: BaseStore, number: int) -> None:
        await session.aset(f"own {number}", number)
        await session.asave()
        await session.amutate("n", lambda n: n + 1)

    async def assertAllWritten(self, session: BaseStore) -> None:
        own = {f"own {number}": number for number in range(WRITERS)}
        self.assertEqual(await self.stored(session), {"n": WRITERS, **own})
