"""A scripted model for a site's tests, and the contract a site's own backend can be held to."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from chatsession.backends.base import Backend, Chunk, Prompt, Reasoning, Source, Usage, is_async

if TYPE_CHECKING:
    from unittest import TestCase as _Base
else:
    _Base = object

Script: TypeAlias = Sequence["Chunk | Exception"]


class FakeBackend:
    """Answers by a script; goes into MODELS as it is: ``{"BACKEND": FakeBackend(["Hello", " world"])}``.

    A flat script answers every prompt alike; a list of lists holds one script for each successive call, and
    one call more raises AssertionError. An exception in a script is raised when its turn comes.
    """

    def __init__(self, script: Script | Sequence[Script]) -> None:
        items = list(script)
        self._successive = bool(items) and all(isinstance(item, list | tuple) for item in items)
        self._script = cast("list[Any]", items)
        #: What the model was asked, oldest first.
        self.prompts: list[Prompt] = []

    async def stream(self, prompt: Prompt) -> AsyncIterator[Chunk]:
        """The next script's chunks."""
        self.prompts.append(prompt)
        for item in self._next_script():
            if isinstance(item, Exception):
                raise item
            yield item

    def _next_script(self) -> Script:
        if not self._successive:
            return self._script
        call = len(self.prompts)
        if call > len(self._script):
            raise AssertionError(f"FakeBackend has {len(self._script)} scripts, and this is call {call}.")
        return cast("Script", self._script[call - 1])


def make_prompt(text: str, *, before: Sequence[str] = (), **values: Any) -> Prompt:
    """A prompt as the chat would make it; ``before`` are the earlier texts, user and assistant in turn."""
    roles = ("user", "assistant")
    contents = [*before, text]
    messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    return Prompt(text=text, messages=messages, **values)  # type: ignore[arg-type]


async def chunks_of(backend: Backend, prompt: Prompt) -> AsyncIterator[Chunk]:
    """What ``backend`` yields for ``prompt``, whichever kind it is of."""
    answer: Any = backend.stream(prompt) if is_async(backend) else await _in_thread(backend.stream, prompt)
    if inspect.isawaitable(answer):
        answer = await answer
    if isinstance(answer, str):
        yield answer
    elif hasattr(answer, "__aiter__"):
        async for chunk in answer:
            yield chunk
    else:
        async for chunk in _drained(iter(answer)):
            yield chunk


async def _drained(iterator: Iterator[Chunk]) -> AsyncIterator[Chunk]:
    end: Any = object()
    try:
        while (chunk := await _in_thread(next, iterator, end)) is not end:
            yield chunk
    finally:
        if close := getattr(iterator, "close", None):
            await _in_thread(close)


async def _in_thread(function: Any, *args: Any) -> Any:
    return await asyncio.to_thread(function, *args)


class BackendContract(_Base):
    """Mix into a Django TestCase and set ``backend``; every chat backend has to pass.

    The bounds are in seconds, and generous: a machine under load must not fail them.
    """

    backend: Backend
    #: From the end of the visitor's interest to the end of the backend's work.
    close_within = 2.0
    #: The longest an async backend may keep the event loop to itself.
    block_at_most = 0.5

    async def test_it_yields_only_chunks(self) -> None:
        for chunk in await self._chunks(make_prompt("Hello")):
            self.assertIsInstance(chunk, (str, Reasoning, Source, Usage))

    async def test_it_answers_the_first_message_of_a_conversation(self) -> None:
        self.assertTrue(await self._text(make_prompt("Hello")))

    async def test_it_answers_a_later_message(self) -> None:
        self.assertTrue(await self._text(make_prompt("And you?", before=["Hello", "Hello, how are you?"])))

    async def test_it_answers_japanese_with_text_that_can_be_sent(self) -> None:
        text = await self._text(make_prompt("こんにちは。「元気」ですか？", language="ja"))
        self.assertTrue(text.encode())

    async def test_it_ends_promptly_when_it_is_closed(self) -> None:
        chunks = chunks_of(self.backend, make_prompt("Hello"))
        await anext(chunks)
        await asyncio.wait_for(_close(chunks), self.close_within)

    async def test_it_leaves_the_event_loop_to_others(self) -> None:
        pulse = asyncio.create_task(_longest_gap())
        await asyncio.sleep(0)
        await self._chunks(make_prompt("Hello"))
        pulse.cancel()
        self.assertLess(await pulse, self.block_at_most)

    async def _chunks(self, prompt: Prompt) -> list[Chunk]:
        return [chunk async for chunk in chunks_of(self.backend, prompt)]

    async def _text(self, prompt: Prompt) -> str:
        return "".join(chunk for chunk in await self._chunks(prompt) if isinstance(chunk, str))


async def _close(chunks: AsyncIterator[Chunk]) -> None:
    await cast("Any", chunks).aclose()


async def _longest_gap() -> float:
    """Seconds between two turns of the event loop, the longest seen until cancelled."""
    longest, last = 0.0, time.monotonic()
    try:
        while True:
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
    except asyncio.CancelledError:
        return max(longest, time.monotonic() - last)
