"""The commit when a streamed body has ended, exactly once, however it ends.

The endings, as measured on Django 5.2 and 6.1: the iterator is exhausted; the view raises; the request's
task is cancelled in an ``await`` of the view, or again during our commit; the server is blocked in
``send()`` and the suspended generator is only closed later, from another task; a WSGI server calls
``close()``; nobody ever iterates.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from types import AsyncGeneratorType
from typing import Any

from asgiref.sync import sync_to_async
from django.http import FileResponse

from chatsession import connections, signals
from chatsession.stores import attendance
from chatsession.stores.attendance import Cut
from chatsession.stores.base import BaseStore

logger = logging.getLogger("chatsession.sessions")

# The event loop itself keeps only weak references to its tasks.
_detached: set[asyncio.Task[Any]] = set()


def follow(session: BaseStore, response: Any) -> None:
    """Commit the session again after the body of this StreamingHttpResponse.

    Without a key there is nothing to commit: it is too late for a new one, and a first write raises.
    """
    session.seal()
    if session.session_key is None:
        return
    ending = Ending(session)
    if not isinstance(response, FileResponse):  # a wrapper would take its file away from the server
        if session.handle:
            ending.join(session)
        # The view's own iterator, not ``streaming_content``: that wraps it in one that does not close it.
        wrap = ending.async_body if response.is_async else ending.body
        response.streaming_content = wrap(response._iterator)
    response._resource_closers.append(ending.close)


class Ending:
    """The one commit of one streamed response."""

    def __init__(self, session: BaseStore) -> None:
        # list.pop() is atomic: whoever gets the session does the commit.
        self._due = [session]
        self._body: Callable[[], AsyncGenerator[Any] | None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cut: Cut | None = None
        self._waiting: asyncio.Timeout | None = None

    def join(self, session: BaseStore) -> None:
        """End this stream with its session, and let it count as use of it."""
        self._cut = session.cut = attendance.join(session)
        self._cut.tell(self._end)

    @property
    def _is_cut(self) -> bool:
        return self._cut is not None and self._cut.happened

    def _end(self) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        if self._waiting:
            self._waiting.reschedule(0)

    def _take(self) -> BaseStore | None:
        try:
            session = self._due.pop()
        except IndexError:
            return None
        if self._cut:
            attendance.leave(self._cut)
        return session if session.accessed or session.modified else None

    def body(self, source: Iterable[Any]) -> Iterator[Any]:
        try:
            for chunk in source:
                if self._is_cut:
                    return
                yield chunk
        finally:
            try:
                if close := getattr(source, "close", None):
                    close()
            finally:
                self._commit()

    def async_body(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        body = self._iterate(source)
        # Weak: an abandoned body is closed as soon as its last reference goes, not at the next collection.
        self._body = weakref.ref(body)
        return body

    async def _iterate(self, source: AsyncIterator[Any]) -> AsyncGenerator[Any]:
        self._loop = asyncio.get_running_loop()
        try:
            with suppress(StopAsyncIteration):
                while not self._is_cut:
                    yield await self._next(source)
        finally:
            try:
                # The view's own "finally" comes first: it may write to the session.
                if aclose := getattr(source, "aclose", None):
                    await aclose()
            finally:
                session = self._take()
                if session is not None:
                    await asyncio.shield(detach(acommit(session)))

    async def _next(self, source: AsyncIterator[Any]) -> Any:
        """The next chunk; a cut is a timeout that is set only then. Raises ``StopAsyncIteration``."""
        try:
            async with asyncio.timeout(None) as self._waiting:
                return await anext(source)
        except TimeoutError:
            if self._is_cut:
                raise StopAsyncIteration from None
            raise
        finally:
            self._waiting = None

    def close(self) -> None:
        """``response.close()``, in whatever thread: the last chance for a body nobody has finished."""
        if self._loop and self._due and not self._loop.is_closed():
            # Begun and left: its "finally" blocks and the commit belong to the loop it ran on.
            self._loop.call_soon_threadsafe(lambda: detach(self._abandon()))
        else:
            self._commit()

    async def _abandon(self) -> None:
        body = self._body()
        if isinstance(body, AsyncGeneratorType) and not body.ag_running:
            await body.aclose()

    def _commit(self) -> None:
        session = self._take()
        if session is None:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            commit(session)
        else:
            detach(acommit(session))


def detach(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that outlives the cancellation of the request."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _detached.add(task)
    task.add_done_callback(_detached.discard)
    return task


def commit(session: BaseStore) -> None:
    """Save what the body has changed. The headers have left: a failure goes to the log and a signal."""
    try:
        session.commit()
    except Exception as error:
        log_failure(session)
        signals.session_commit_failed.send_robust(type(session), session=session, error=error)


async def acommit(session: BaseStore) -> None:
    """See commit(). It may run after the request's end, so it closes old connections itself."""
    try:
        await session.acommit()
    except Exception as error:
        log_failure(session)
        await signals.session_commit_failed.asend_robust(type(session), session=session, error=error)
    finally:
        await sync_to_async(connections.release)()


def log_failure(session: BaseStore) -> None:
    logger.exception("Changes made to session %s while streaming are lost.", session.handle or "(gone)")
