"""An answer's readers end with their session; the answer goes on."""

from __future__ import annotations

import asyncio
import threading
from importlib import import_module

from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import AsyncClient, Client, TransactionTestCase, override_settings

from chatsession.models import Message

Store = import_module(settings.SESSION_ENGINE).SessionStore
PATIENCE = 10  # seconds, less than a reader waits for a heartbeat
BODY = {"id": "c", "message": {"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}}


class ReadersTests(TransactionTestCase):
    def setUp(self):
        self.go_on = threading.Event()
        self.addCleanup(self.go_on.set)
        self.enterContext(override_settings(CHATSESSION={"MODELS": {"default": {"BACKEND": self.answer}}}))

    def answer(self, prompt):
        yield "first"
        self.go_on.wait(PATIENCE)
        yield " second"

    def finish(self):
        """Let the model go on to its end."""
        ended = threading.Event()
        self.go_on.set()
        while Message.objects.get(role="assistant").status == "streaming":
            ended.wait(0.05)
        return Message.objects.get(role="assistant")

    def assertRunGoesOn(self):
        message = self.finish()
        assert (message.status, message.parts[0]["text"]) == ("complete", "first second")

    def revoke(self, client):
        assert Store.revoke(Store(client.cookies["sessionid"].value).load().record.handle)

    def test_in_a_thread_that_waits_for_the_model(self):
        client, first, seen = Client(), threading.Event(), []
        response = client.post("/chat/api/chat", BODY, content_type="application/json")

        def read():
            for chunk in response.streaming_content:
                seen.append(chunk)
                if b"first" in b"".join(seen):
                    first.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert first.wait(PATIENCE)
        self.revoke(client)
        reader.join(PATIENCE)
        assert not reader.is_alive()
        response.close()
        assert b"[DONE]" not in b"".join(seen)
        assert client.get("/chat/api/chat/c/stream").status_code == 404
        self.assertRunGoesOn()

    async def test_in_a_task(self):
        client, seen = AsyncClient(), b""
        response = await client.post("/chat/api/chat", BODY, content_type="application/json")
        chunks = aiter(response.streaming_content)
        while b"first" not in seen:
            seen += await anext(chunks)
        await sync_to_async(self.revoke)(client)
        async with asyncio.timeout(PATIENCE):
            assert b"[DONE]" not in b"".join([chunk async for chunk in chunks])
        await sync_to_async(self.assertRunGoesOn)()

    def test_a_head_request_waits_for_nothing(self):
        client = Client()
        client.post("/chat/api/chat", BODY, content_type="application/json").close()

        response = client.head("/chat/api/chat/c/stream")

        assert (response.status_code, response.streaming) == (200, False)
        assert response["Content-Type"].startswith("text/event-stream")
        self.assertRunGoesOn()
