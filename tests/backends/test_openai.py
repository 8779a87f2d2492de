from __future__ import annotations

import asyncio
import traceback
from contextlib import aclosing
from unittest import mock

from django.test import SimpleTestCase, override_settings

from chatsession.backends.base import BackendError, Reasoning, Usage, get_backend
from chatsession.backends.openai import (
    BROKE_OFF,
    BUSY,
    NOT_ACCEPTED,
    REFUSED,
    SILENT,
    UNREACHABLE,
    OpenAIBackend,
)
from chatsession.testing.backends import BackendContract, make_prompt
from tests.backends.hostile import (
    CHUNKED,
    DONE,
    DROP,
    FINISH,
    ROLE,
    SILENCE,
    STREAM,
    USAGE,
    chunked,
    delta,
    event,
    hostile,
    refusal,
    text,
)

KEY = "sk-a-very-secret-key"
HELLO = [STREAM, ROLE, text("Hello"), text(" world"), FINISH, DONE]


def backend_at(url, **options):
    return OpenAIBackend("model-1", base_url=url, api_key=KEY, **options)


async def answer(*scripts, prompt=None, **options):
    async with hostile(*scripts) as (_, url):
        return [chunk async for chunk in backend_at(url, **options).stream(prompt or make_prompt("Hi"))]


async def failure(*scripts, **options):
    """(text before the failure, the failure)."""
    async with hostile(*scripts) as (_, url):
        seen = []
        try:
            async for chunk in backend_at(url, **options).stream(make_prompt("Hi")):
                seen.append(chunk)
        except BackendError as exc:
            return "".join(seen), exc
    raise AssertionError("no failure")


def no_waiting():
    """The pauses between retries, recorded instead of waited for."""
    return mock.patch("chatsession.backends.openai.sleep", mock.AsyncMock())


class AnswerTests(SimpleTestCase):
    async def test_the_text_comes_in_the_pieces_the_server_sends(self):
        assert await answer(HELLO) == ["Hello", " world"]

    async def test_usage_may_come_after_the_finish(self):
        script = [STREAM, text("Hello"), FINISH, USAGE, DONE]
        assert await answer(script) == ["Hello", Usage(3, 2)]

    async def test_usage_in_every_event_is_told_once(self):
        running = event(
            choices=[{"index": 0, "delta": {"content": "Hello"}}],
            usage={"prompt_tokens": 3, "completion_tokens": 1},
        )
        assert await answer([STREAM, running, FINISH, USAGE, DONE]) == ["Hello", Usage(3, 2)]

    async def test_both_names_of_reasoning_are_understood(self):
        script = [STREAM, delta(reasoning_content="Hm"), delta(reasoning="m."), text("42"), FINISH, DONE]
        assert await answer(script) == [Reasoning("Hm"), Reasoning("m."), "42"]

    async def test_events_without_anything_in_them_are_passed_over(self):
        empty = [
            delta(),
            delta(content=None),
            text(""),
            event(choices=[]),
            event(choices=None),
            b": ping\n\n",
        ]
        assert await answer([STREAM, *empty, text("Hello"), FINISH, DONE]) == ["Hello"]

    async def test_a_missing_done_is_forgiven(self):
        assert await answer([STREAM, text("Hello"), FINISH]) == ["Hello"]

    async def test_a_character_may_be_cut_by_the_segments_of_the_connection(self):
        data = text("日本語") + FINISH + DONE
        bytes_apart = [data[i : i + 1] for i in range(len(data))]
        assert await answer([STREAM, *bytes_apart]) == ["日本語"]

    async def test_the_system_prompt_comes_first(self):
        prompt = make_prompt("Hi", before=["A", "B"], system="Be brief.")
        async with hostile(HELLO) as (server, url):
            _ = [chunk async for chunk in backend_at(url).stream(prompt)]
        assert [m["role"] for m in server.bodies[0]["messages"]] == ["system", "user", "assistant", "user"]
        assert server.bodies[0]["messages"][0]["content"] == "Be brief."
        assert server.bodies[0]["stream_options"] == {"include_usage": True}

    async def test_a_visitor_chooses_among_the_known_parameters_only(self):
        prompt = make_prompt("Hi", params={"temperature": 0.1, "max_tokens": 9, "model": "dear", "n": 50})
        async with hostile(HELLO) as (server, url):
            _ = [chunk async for chunk in backend_at(url, temperature=1, seed=7).stream(prompt)]
        body = server.bodies[0]
        assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.1, 9, 7)
        assert (body["model"], "n" in body) == ("model-1", False)

    async def test_openai_itself_gets_the_new_name_of_max_tokens(self):
        request = OpenAIBackend("model-1")._request(make_prompt("Hi", params={"max_tokens": 9}))
        assert request["max_completion_tokens"] == 9
        assert "max_tokens" not in request

    async def test_the_key_of_the_environment_goes_to_no_other_server(self):
        with mock.patch.dict("os.environ", {"OPENAI_API_KEY": KEY}):
            async with hostile(HELLO) as (server, url):
                _ = [
                    chunk async for chunk in OpenAIBackend("model-1", base_url=url).stream(make_prompt("Hi"))
                ]
        assert KEY not in server.heads[0]

    async def test_one_client_serves_all_answers_of_an_event_loop(self):
        async with hostile(HELLO) as (_, url):
            backend = backend_at(url)
            assert await backend._client() is await backend._client()


class StopTests(SimpleTestCase):
    async def test_closing_the_answer_hangs_up(self):
        async with hostile([STREAM, text("Hello"), SILENCE]) as (server, url):
            chunks = backend_at(url).stream(make_prompt("Hi"))
            assert await anext(chunks) == "Hello"
            await chunks.aclose()
            await asyncio.wait_for(server.left.wait(), 5)

    async def test_cancelling_a_silent_answer_hangs_up(self):
        async with hostile([STREAM, text("Hello"), SILENCE]) as (server, url):
            chunks = backend_at(url).stream(make_prompt("Hi"))
            await anext(chunks)
            waiting = asyncio.ensure_future(anext(chunks))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait_for(server.left.wait(), 5)
            await asyncio.gather(waiting, return_exceptions=True)
            assert waiting.cancelled()


class FailureTests(SimpleTestCase):
    async def test_a_dropped_connection(self):
        seen, error = await failure([STREAM, text("Hel"), DROP])
        assert (seen, error.message) == ("Hel", BROKE_OFF)

    async def test_a_connection_dropped_between_two_chunks(self):
        seen, error = await failure([CHUNKED, chunked(text("Hel")), b"ff\r\nda"])
        assert (seen, error.message) == ("Hel", BROKE_OFF)

    async def test_an_end_that_only_looks_like_one(self):
        seen, error = await failure([STREAM, text("Hel")])
        assert (seen, error.message) == ("Hel", BROKE_OFF)

    async def test_an_answer_without_a_single_event(self):
        assert (await failure([STREAM]))[1].message == BROKE_OFF

    async def test_garbage_between_the_events(self):
        seen, error = await failure(
            [STREAM, text("Hel"), b'data: {"choices": [{"del\n\n', text("lo"), FINISH, DONE]
        )
        assert (seen, error.message) == ("Hel", BROKE_OFF)

    async def test_an_error_inside_the_stream(self):
        seen, error = await failure([STREAM, text("Hel"), event(error={"message": "out of memory"})])
        assert (seen, error.message) == ("Hel", BROKE_OFF)

    async def test_silence_in_the_middle(self):
        seen, error = await failure([STREAM, text("Hel"), SILENCE], timeout=0.2)
        assert (seen, error.message) == ("Hel", SILENT)

    async def test_silence_from_the_beginning_is_not_asked_again(self):
        async with hostile([SILENCE]) as (server, url):
            with self.assertRaises(BackendError) as raised:
                await anext(backend_at(url, timeout=0.2).stream(make_prompt("Hi")))
        assert raised.exception.message == SILENT
        assert len(server.bodies) == 1

    async def test_nobody_listens(self):
        with no_waiting() as pause, self.assertRaises(BackendError) as raised:
            await anext(backend_at("http://127.0.0.1:1/v1").stream(make_prompt("Hi")))
        assert raised.exception.message == UNREACHABLE
        assert pause.await_count == 2

    async def test_a_server_error_is_asked_again_before_the_first_token(self):
        assert await answer(refusal(500), HELLO) == ["Hello", " world"]

    async def test_a_server_error_that_stays(self):
        with no_waiting():
            assert (await failure(refusal(503)))[1].message == UNREACHABLE

    async def test_a_refused_conversation(self):
        assert (await failure(refusal(400, code="context_length_exceeded")))[1].message == NOT_ACCEPTED

    async def test_a_model_nobody_knows_is_the_administrators_matter(self):
        with self.assertLogs("chatsession.backends.openai", "ERROR"):
            assert (await failure(refusal(404)))[1].message == REFUSED


class RateLimitTests(SimpleTestCase):
    async def test_a_short_wait_is_waited_for(self):
        with no_waiting() as pause:
            assert await answer(refusal(429, headers="Retry-After: 2\r\n"), HELLO) == ["Hello", " world"]
        assert mock.call(2) in pause.await_args_list

    async def test_a_long_wait_is_left_to_the_visitor(self):
        async with hostile(refusal(429, headers="Retry-After: 60\r\n")) as (server, url):
            with self.assertRaises(BackendError) as raised:
                await anext(backend_at(url).stream(make_prompt("Hi")))
        assert (raised.exception.message, raised.exception.retry_after) == (BUSY, 60)
        assert len(server.bodies) == 1

    async def test_a_limit_that_stays(self):
        with no_waiting():
            error = (await failure(refusal(429, headers="Retry-After: 1\r\n")))[1]
        assert (error.message, error.retry_after) == (BUSY, 1)

    async def test_a_date_in_the_past_and_nonsense_mean_now(self):
        past = "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"
        with no_waiting():
            assert (await failure(refusal(429, headers=past)))[1].retry_after == 0
            assert (await failure(refusal(429, headers="Retry-After: soon\r\n")))[1].retry_after is None

    async def test_a_used_up_quota_is_the_administrators_matter(self):
        async with hostile(refusal(429, code="insufficient_quota")) as (server, url):
            with self.assertRaises(BackendError) as raised:
                await anext(backend_at(url).stream(make_prompt("Hi")))
        assert raised.exception.message == REFUSED
        assert len(server.bodies) == 1


class SecretTests(SimpleTestCase):
    async def test_the_key_is_in_no_log_and_no_traceback(self):
        with self.assertLogs("chatsession", "DEBUG") as logs:
            error = (await failure(refusal(401, message=f"Incorrect API key provided: {KEY}")))[1]
        assert error.message == REFUSED
        assert KEY not in "".join(logs.output) + "".join(traceback.format_exception(error))
        assert "[api key]" in "".join(logs.output)


class CheckTests(SimpleTestCase):
    def test_a_complete_backend_has_nothing_to_say(self):
        assert OpenAIBackend("model-1").check("default") == []

    def test_the_missing_package_and_the_missing_name(self):
        with mock.patch("chatsession.backends.openai.find_spec", return_value=None):
            messages = OpenAIBackend("").check("smart")
        assert [message.id for message in messages] == ["chatsession.E030", "chatsession.E031"]
        assert all(message.hint and "smart" in message.msg for message in messages)

    @override_settings(
        CHATSESSION={
            "MODELS": {
                "a": {
                    "BACKEND": "chatsession.backends.openai.OpenAIBackend",
                    "OPTIONS": {"model": "x", "seed": 7},
                }
            }
        }
    )
    def test_it_is_made_from_the_settings(self):
        backend = get_backend("a")
        assert (backend.model, backend.params) == ("x", {"seed": 7})


class ContractTests(BackendContract, SimpleTestCase):
    """The contract, against a well-behaved server."""

    def run(self, result=None):
        self.backend = _ServedBackend()
        return super().run(result)


class _ServedBackend:
    async def stream(self, prompt):
        async with hostile(HELLO) as (_, url), aclosing(backend_at(url).stream(prompt)) as answer:
            async for chunk in answer:
                yield chunk
