"""A run as its process holds it: the answer so far, and who waits for more of it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from django.utils.functional import Promise

from chatsession.backends.base import Reasoning, Source, Usage
from chatsession.conf import conf
from chatsession.runs.log import Outcome, Part, events

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from chatsession.backends.base import Chunk
    from chatsession.models import Message
    from chatsession.runs.log import Event


class Run:
    """The live side of one answer. Written by its producer and the ticker, read from any thread.

    ``outcome`` is set once, after the database has it: what readers see as the end. ``ending`` is what
    the producer wants it to be. A run that is ``lost`` has no end here: its row is another worker's, or gone.
    """

    poll = None

    def __init__(self, message: Message) -> None:
        self.message = message
        self.id: str = message.run_id or ""
        self.usage: dict[str, int] = {}
        self.ending: Outcome | None = None
        self.outcome: Outcome | None = None
        self.stopping = self.lost = False
        #: The place in the queue, from 1; 0 once it is written.
        self.place = 0
        #: Whether the parts have grown since the ticker took them last.
        self.dirty = False
        #: Called as readers are, and no reader.
        self.echo: Callable[[], None] | None = None
        self.ended = threading.Event()
        self.task: asyncio.Task[None] | None = None
        self.started = time.monotonic()
        self.first_token: float | None = None
        self._parts: list[Part] = list(message.parts)
        self._pieces: list[str] = []
        self._lock = threading.Lock()
        self._wakers: set[Callable[[], None]] = set()

    def append(self, chunk: Chunk) -> None:
        """Add what the backend yielded; nothing once the run is ending. Called by one thread at a time.

        Raises ``TypeError`` for what is no text: it must not come to light when all runs are written.
        """
        if self.ending is not None:
            return
        if isinstance(chunk, Usage):
            self.usage |= {"inputTokens": chunk.input_tokens, "outputTokens": chunk.output_tokens}
            return
        with self._lock:
            # Where pieces wait to be looked at, all have been told: that was 1 of the 3 µs a token takes.
            is_news = not self._pieces
            if isinstance(chunk, Source):
                self._join()
                self._add_source(clean(chunk.url), clean(chunk.title))
            elif isinstance(chunk, Reasoning):
                self._add_text("reasoning", chunk.text)
            else:
                self._add_text("text", chunk)
        if is_news:
            self.dirty = True
            if self.first_token is None:
                self.first_token = time.monotonic()
            self.notify()

    def _add_text(self, kind: str, text: str | Promise | None) -> None:
        if not text:
            return
        if not isinstance(text, str | Promise):
            raise TypeError(f"A backend yields text, not {type(text).__name__}")
        if not self._parts or self._parts[-1]["type"] != kind:
            self._join()
            self._parts.append({"type": kind, "text": ""})
        self._pieces.append(str(text))

    def _add_source(self, url: str, title: str) -> None:
        if not any(part.get("url") == url and part.get("title") == title for part in self._parts):
            source = {"type": "source-url", "sourceId": f"s{len(self._parts)}", "url": url, "title": title}
            self._parts.append(source)

    def _join(self) -> None:
        # Pieces are joined and cleaned when somebody looks: at every token it would copy the text each time.
        if self._pieces:
            part = self._parts[-1]
            self._parts[-1] = part | {"text": part["text"] + clean("".join(self._pieces))}
            self._pieces.clear()

    def parts(self) -> list[Part]:
        """The answer so far; the list is the caller's, its parts are never changed."""
        with self._lock:
            self._join()
            return list(self._parts)

    def events_after(self, position: int) -> list[Event]:
        """All events behind ``position``, deltas joined."""
        outcome = self.outcome
        return list(events(self.parts(), position, outcome))

    def refresh(self) -> Run:
        """Itself: this is where the news comes from."""
        return self

    def end(self, outcome: Outcome) -> None:
        """Announce the end, after it was written."""
        self.outcome = self.ending = outcome
        self.ended.set()
        self.notify()

    def lose(self) -> None:
        """Stop writing, and send the readers away: they find out how it goes on when they ask again."""
        self.stop()
        self.lost = True
        self.ended.set()
        self.notify()

    def stop(self) -> None:
        """Break the producer off; what is written so far stays. Any thread, any number of times."""
        with self._lock:
            task = None if self.stopping else self.task
            self.stopping = True
        if task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def attach(self, task: asyncio.Task[None]) -> None:
        """The producer is ``task``; cancelled at once if the stop came first."""
        with self._lock:
            self.task, stopped = task, self.stopping
        if stopped:
            # After its first step: a task cancelled before that never enters its coroutine.
            task.get_loop().call_soon(task.cancel)

    def timings(self) -> dict[str, float | None]:
        """Seconds from the start to the first token (None: there was none) and until now."""
        first = None if self.first_token is None else self.first_token - self.started
        return {"first_token": first, "total": time.monotonic() - self.started}

    def notify(self) -> None:
        """Wake the readers that wait."""
        for wake in self._wakers:  # replaced, never altered
            wake()
        if self.echo:
            self.echo()

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` (thread-safe, quick) when there is news, until ``unsubscribe``.

        Who is woken has to look, by ``parts()`` or ``events_after()``: it is woken for the first piece that
        nobody has looked at, not for those that follow.
        """
        with self._lock:
            self._wakers = self._wakers | {wake}

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Forget a reader. The run goes on without it, unless the site wants it to stop with its last one."""
        with self._lock:
            self._wakers = self._wakers - {wake}
        if not self._wakers and conf.ON_DISCONNECT == "stop":
            self.stop()


def clean(text: str) -> str:
    """``text`` as every database stores it: no NUL, no lone surrogates (PostgreSQL refuses both)."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
