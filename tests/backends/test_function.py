from __future__ import annotations

from functools import partial

from django.test import SimpleTestCase

from chatsession.backends.base import Source, is_async
from chatsession.backends.function import FunctionBackend
from chatsession.testing.backends import BackendContract, chunks_of, make_prompt


def whole(prompt):
    return f"You said {prompt.text}."


def in_pieces(prompt):
    yield from ["You said ", prompt.text, Source("https://example.org/", "Example")]


async def awaited(prompt):
    return f"You said {prompt.text}."


async def streamed(prompt):
    yield "You said "
    yield prompt.text


def greeted(greeting, prompt):
    return f"{greeting}, {prompt.text}"


class Callable:
    async def __call__(self, prompt):
        return prompt.text


class AnswerTests(SimpleTestCase):
    async def test_what_the_function_returns_is_passed_on_unchanged(self):
        assert await self._answer(whole) == ["You said Hi."]
        assert await self._answer(in_pieces) == ["You said ", "Hi", Source("https://example.org/", "Example")]
        assert await self._answer(awaited) == ["You said Hi."]
        assert await self._answer(streamed) == ["You said ", "Hi"]

    async def _answer(self, function):
        return [chunk async for chunk in chunks_of(FunctionBackend(function), make_prompt("Hi"))]


class KindTests(SimpleTestCase):
    def test_the_kind_is_seen_through_partial_and_callable_objects(self):
        assert [is_async(FunctionBackend(f)) for f in (whole, in_pieces, partial(greeted, "Hey"))] == [
            False
        ] * 3
        assert [is_async(FunctionBackend(f)) for f in (awaited, streamed, partial(streamed), Callable())] == [
            True
        ] * 4


class WholeContractTests(BackendContract, SimpleTestCase):
    backend = FunctionBackend(whole)


class InPiecesContractTests(BackendContract, SimpleTestCase):
    backend = FunctionBackend(in_pieces)


class AwaitedContractTests(BackendContract, SimpleTestCase):
    backend = FunctionBackend(awaited)


class StreamedContractTests(BackendContract, SimpleTestCase):
    backend = FunctionBackend(streamed)
