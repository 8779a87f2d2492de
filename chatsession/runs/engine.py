"""The engine of a process: one background event loop that writes all its answers.

The loop and its thread are the same under WSGI and ASGI, start with the first run, and start anew in a
forked child. A run knows no request and no connection: readers come and go.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import os
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import DatabaseError, InterfaceError

from chatsession import connections
from chatsession.bus import bus
from chatsession.conversations import history
from chatsession.models import Conversation, Message
from chatsession.runs.broadcast import Broadcast
from chatsession.runs.produce import produce
from chatsession.runs.run import Run
from chatsession.runs.seats import Place, Seats
from chatsession.runs.ticker import LEAVE_PATIENCE, Ticker
from chatsession.signals import message_saved, run_finished

if TYPE_CHECKING:
    from chatsession.backends.base import Backend, Prompt

logger = logging.getLogger("chatsession.runs")


class Engine:
    """The live runs of this process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, with a lease of our own: threads and runs stay in the parent of a fork."""
        self.live: dict[str, Run] = {}
        self.seats = Seats()
        self.broadcast = Broadcast(self.live)
        self.ticker = Ticker(history.new_id(), self.live, self._ended)
        #: Held by whoever takes a dead worker's run over.
        self.recovering = threading.Lock()
        #: Whether runs finish inside the request, on its connection. For tests, and where no thread can live.
        self.inline = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    @property
    def lease(self) -> str:
        """The token that this process's runs are written under."""
        return self.ticker.token

    def start(self, message: Message, backend: Backend, prompt: Prompt, place: Place) -> Run:
        """Start writing ``message``, whose row is committed, in a ``place`` that is reserved."""
        # The conversation and the question it holds would be 3 kB for as long as the answer is written.
        message._state.fields_cache.clear()
        run = Run(message)
        if prompt.metadata.get("context_trimmed"):
            run.usage["contextTrimmed"] = True
        self.live[run.id] = run
        try:
            if not self.inline:
                self.ticker.start()
                bus.start()
                self._ensure_loop().call_soon_threadsafe(self._spawn, run, backend, prompt, place)
                return run
        except RuntimeError:
            logger.warning("No thread can be started here: answers are written inside their requests")
            self.inline = self._loop is None
        self._run_inline(run, backend, prompt, place)
        return run

    def _spawn(self, run: Run, backend: Backend, prompt: Prompt, place: Place) -> None:
        # An empty context: nothing of the request (its user, its language, its locals) outlives it.
        coroutine = self._run(run, backend, prompt, place)
        run.attach(asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context()))

    async def _run(self, run: Run, backend: Backend, prompt: Prompt, place: Place) -> None:
        try:
            # A thread of its own for an async backend's queries: nobody closes those of asgiref's common one.
            async with ThreadSensitiveContext() as context:
                await produce(run, backend, prompt, partial(self.seats.sit, place))
                if context in SyncToAsync.context_to_thread_executor:  # it has begun one
                    await sync_to_async(connections.release)()
        finally:
            self.ticker.wake()

    def _run_inline(self, run: Run, backend: Backend, prompt: Prompt, place: Place) -> None:
        try:
            contextvars.copy_context().run(asyncio.run, produce(run, backend, prompt, None))
            self.ticker.tick()
        finally:
            self.live.pop(run.id, None)
            self.seats.release(place)

    def stop(self, run_id: str) -> None:
        """Stop a run if it is one of this process."""
        if run := self.live.get(run_id):
            run.stop()

    def _ended(self, run: Run) -> None:
        if self.inline:
            send_signals(run)
        elif run_finished.has_listeners(Message) or message_saved.has_listeners(Message):
            # Not on the ticker's thread: a slow receiver would cost this process its lease.
            threading.Thread(target=_send_signals_and_close, args=(run,), name="chatsession-signals").start()

    def leave(self) -> None:
        """The process ends: others may go on with its runs at once. If that fails they do a lease later."""
        if self.live and not self.inline:
            try:
                self.ticker.leave()
            except Exception:
                logger.exception("The runs of this process could not be handed over")
            self.seats.leave()

    def _ensure_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = new_event_loop()
                thread = threading.Thread(
                    target=_run_loop, args=(loop,), name="chatsession-runs", daemon=True
                )
                thread.start()
                self._loop = loop
                leave_at_sigterm()
            return self._loop


def send_signals(run: Run) -> None:
    """Tell the site that a run has ended. The message has its conversation, which async receivers may not ask
    for, unless that is gone or the database is away by now."""
    with suppress(Conversation.DoesNotExist, DatabaseError, InterfaceError):
        run.message.conversation = history.conversation_of(run.message)
    message_saved.send_robust(Message, message=run.message)
    run_finished.send_robust(Message, message=run.message, timings=run.timings())


def _send_signals_and_close(run: Run) -> None:
    try:
        send_signals(run)
    finally:
        connections.release()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, as servers do: a token costs half there."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def leave_at_sigterm() -> None:
    """Leave at SIGTERM too, where nobody handles it and this thread may; then it ends the process as ever."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave_and_die)


def _leave_and_die(*_: object) -> None:
    # In a thread: this one may be in the middle of a query.
    thread = threading.Thread(target=engine.leave, name="chatsession-leave", daemon=True)
    thread.start()
    thread.join(2 * LEAVE_PATIENCE)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


engine = Engine()
# By its name: a forked child has new seats.
bus.each_round(lambda: engine.seats.go_round())
bus.each_round(lambda: engine.broadcast.go_round())
bus.on("seats", lambda _: engine.seats.arrange())
bus.on("stop", engine.stop)
bus.on("read", lambda run_id: engine.broadcast.begin(run_id))
atexit.register(engine.leave)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=engine.reset)
