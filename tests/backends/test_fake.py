from __future__ import annotations

from django.test import SimpleTestCase

from chatsession.backends.base import BackendError, Usage
from chatsession.testing import BackendContract, FakeBackend
from chatsession.testing.backends import chunks_of, make_prompt


async def answer(backend, text="Hi"):
    return [chunk async for chunk in chunks_of(backend, make_prompt(text))]


class FakeBackendTests(SimpleTestCase):
    async def test_a_flat_script_answers_every_prompt_alike(self):
        backend = FakeBackend(["Hello", " world", Usage(1, 2)])
        assert await answer(backend) == await answer(backend) == ["Hello", " world", Usage(1, 2)]

    async def test_nested_scripts_are_for_one_call_each(self):
        backend = FakeBackend([["One"], ["Two"]])
        assert [await answer(backend), await answer(backend)] == [["One"], ["Two"]]
        with self.assertRaisesRegex(AssertionError, "2 scripts, and this is call 3"):
            await answer(backend)

    async def test_an_exception_is_raised_when_its_turn_comes(self):
        chunks = FakeBackend(["Hello", BackendError("Enough.")]).stream(make_prompt("Hi"))
        assert await anext(chunks) == "Hello"
        with self.assertRaisesMessage(BackendError, "Enough."):
            await anext(chunks)

    async def test_the_prompts_are_kept(self):
        backend = FakeBackend(["Hello"])
        await answer(backend, "first")
        await answer(backend, "second")
        assert [prompt.text for prompt in backend.prompts] == ["first", "second"]


class ContractTests(BackendContract, SimpleTestCase):
    backend = FakeBackend(["Hello", " world"])
