from __future__ import annotations

import asyncio
import gc

import pytest
from django.test import AsyncClient, Client

from chatsession import redis
from chatsession.bus import bus
from chatsession.conf import conf
from chatsession.models import Conversation
from chatsession.runs.engine import engine
from chatsession.stores.db import SessionStore
from chatsession.testing import FakeBackend, inline_runs, send
from chatsession.views import limits
from chatsession.views.chat import chat
from tests.redis_server import clean, needed
from tests.test_bus import eventually
from tests.views.test_chat import body, post, refusal


@pytest.fixture(autouse=True)
def fresh(db, settings):
    limits._sends.clear()
    limits._streams.clear()
    settings.CHATSESSION = {"MODELS": {"default": {"BACKEND": FakeBackend(["answer"])}}}
    with inline_runs():
        yield


@pytest.fixture(params=["process", "site"])
def counted(request, settings):
    """Sends are counted in this process, or by Redis."""
    settings.SESSION_ENGINE = "chatsession.stores.db"
    limited(settings, REDIS_URL=None)
    if request.param == "site":
        limited(settings, REDIS_URL=needed())
        clean(needed())
        assert eventually(lambda: bus.ask(lambda client: client.ping()))
    yield
    assert bool(limits._sends) is (request.param == "process")


def limited(settings, **values) -> None:
    settings.CHATSESSION = settings.CHATSESSION | values


def sends(client: Client, count: int, **headers) -> list[int]:
    responses = [
        post(client, body(message_id=f"m{n}", conversation_id=f"c{n}"), **headers) for n in range(count)
    ]
    for response in responses:
        b"".join(response) if response.streaming else None
    return [response.status_code for response in responses]


@pytest.mark.parametrize(("rate", "expected"), [("20/m", (20, 60)), ("1/s", (1, 1)), ("5/h", (5, 3600))])
def test_a_rate_is_a_count_and_a_unit(rate, expected):
    assert limits.parse_rate(rate) == expected


@pytest.mark.parametrize("rate", ["", "20", "20/y", "x/m", "0/m"])
def test_anything_else_is_no_rate(rate):
    with pytest.raises(ValueError):
        limits.parse_rate(rate)


def test_guests_share_the_rate_of_their_address_and_nothing_is_stored_beyond_it(counted, settings):
    limited(settings, RATE={"guest": "2/h"})

    assert sends(Client(), 2) == [200, 200]
    response = post(Client(), body())

    assert refusal(response) == (429, "rate_limited", None)
    assert 0 < int(response["Retry-After"]) <= 3600
    assert Conversation.objects.count() == 2
    assert post(Client(REMOTE_ADDR="192.0.2.7"), body()).status_code == 200


def test_a_user_has_a_rate_of_their_own_wherever_they_are(counted, settings, django_user_model):
    limited(settings, RATE={"user": "1/h", "guest": "1/h"})
    one, two = Client(), Client(REMOTE_ADDR="192.0.2.7")
    user = django_user_model.objects.create_user("ann")
    one.force_login(user)
    two.force_login(user)

    assert post(one, body()).status_code == 200
    assert post(two, body("x", "m2", "c2")).status_code == 429
    assert post(Client(), body()).status_code == 200


def an_hour_passes_for_the_oldest() -> None:
    for times in limits._sends.values():
        times[0] -= 3600
    if conf.REDIS_URL:
        (key,) = redis.client().keys(redis.key("rate", "*"))
        redis.client().lset(key, 0, int(redis.client().lindex(key, 0)) - 3600 * 1_000_000)


def test_a_send_older_than_the_window_does_not_count(counted, settings):
    limited(settings, RATE={"guest": "2/h"})
    assert sends(Client(), 3) == [200, 200, 429]

    an_hour_passes_for_the_oldest()

    assert sends(Client(), 2) == [200, 429]


def test_a_rate_is_counted_in_the_process_while_redis_is_away(settings):
    settings.SESSION_ENGINE = "chatsession.stores.db"
    limited(settings, RATE={"guest": "1/h"}, REDIS_URL="redis://127.0.0.1:1/0")

    assert sends(Client(), 2) == [200, 429]


def test_the_same_message_sent_again_does_not_count(settings):
    limited(settings, RATE={"guest": "1/h"})
    client = Client()

    assert [post(client, body()).status_code for _ in range(3)] == [200, 200, 200]


def test_an_owner_reads_so_many_answers_at_once(settings):
    limited(settings, MAX_STREAMS_PER_OWNER=2)
    client = Client()
    send(client, "hello", conversation_id="first")
    open_streams = [post(client, body(message_id=f"m{n}", conversation_id=f"c{n}")) for n in range(2)]

    response = post(client, body("x", "m9", "c9"))

    assert refusal(response) == (429, "too_many_streams", None)
    assert not Conversation.objects.filter(public_id="c9").exists()
    b"".join(open_streams[0].streaming_content)
    assert post(client, body("x", "m9", "c9")).status_code == 200


def test_a_refused_send_takes_no_stream(settings):
    limited(settings, MAX_STREAMS_PER_OWNER=1)
    client = Client()
    b"".join(post(client, body()).streaming_content)

    for _ in range(3):
        assert post(client, body(model="unknown")).status_code == 400
    assert post(client, body("x", "m2")).status_code == 200


def test_a_response_that_is_dropped_before_its_body_begins_takes_no_stream(settings, rf):
    limited(settings, MAX_STREAMS_PER_OWNER=1)
    session = SessionStore()
    session.create()

    def asked(number: int):
        data = body(message_id=f"m{number}", conversation_id=f"c{number}")
        request = rf.post("/chat/api/chat", data, content_type="application/json")
        request.session, request._dont_enforce_csrf_checks = session, True
        return chat(request)

    dropped = asked(1)
    assert (dropped.status_code, asked(2).status_code) == (200, 429)
    del dropped
    gc.collect()

    assert asked(3).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_an_async_reader_that_leaves_gives_its_stream_back(settings):
    async def answer(prompt):
        yield "first"
        await asyncio.sleep(0.2)
        yield "second"

    limited(settings, MAX_STREAMS_PER_OWNER=1, MODELS={"default": {"BACKEND": answer}})
    engine.inline = False

    async def leave() -> list[int]:
        client, began = AsyncClient(), asyncio.Event()

        async def read(response) -> None:
            async for _ in response.streaming_content:
                began.set()

        async def send_and(number: int):
            data = body("x", f"m{number}", f"c{number}")
            return await client.post("/chat/api/chat", data, content_type="application/json")

        reading = asyncio.create_task(read(await send_and(1)))
        await began.wait()
        meanwhile = await send_and(2)
        reading.cancel()
        await asyncio.wait([reading])
        afterwards = await send_and(3)
        await read(afterwards)
        return [meanwhile.status_code, afterwards.status_code]

    assert asyncio.run(leave()) == [429, 200]
