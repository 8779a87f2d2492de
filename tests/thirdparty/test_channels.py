"""Channels' session middleware, on the cookie our middleware has set."""

from __future__ import annotations

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.sessions import SessionMiddlewareStack
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import TransactionTestCase


class Consumer(AsyncJsonWebsocketConsumer):
    """Tells what is in the session, and stores what it is told."""

    async def connect(self):
        await self.accept()
        user = self.scope.get("user")
        await self.send_json({"session": dict(await self.scope["session"].aitems()), "user": str(user)})

    async def receive_json(self, content):
        await self.scope["session"].aupdate(content)
        await self.scope["session"].asave()
        await self.send_json("stored")


class ChannelsTests(TransactionTestCase):
    async def connected(self, stack, cookie):
        headers = [(b"cookie", f"sessionid={cookie}".encode())]
        wire = WebsocketCommunicator(stack(Consumer.as_asgi()), "/", headers=headers)
        assert (await wire.connect())[0]
        return wire

    async def cookie(self, path="write?a=1"):
        await self.async_client.get(f"/session/{path}")
        key = self.async_client.cookies["sessionid"].value
        assert "." in key
        return key

    async def test_a_socket_reads_and_writes_the_session(self):
        wire = await self.connected(SessionMiddlewareStack, await self.cookie())
        assert (await wire.receive_json_from())["session"] == {"a": "1"}
        await self.async_client.get("/session/write?b=2")
        await wire.send_json_to({"c": 3})
        assert await wire.receive_json_from() == "stored"
        await wire.disconnect()
        assert (await self.async_client.get("/session/dump")).json() == {"a": "1", "b": "2", "c": 3}

    async def test_a_bad_cookie_is_an_empty_session(self):
        cookie = await self.cookie()
        wire = await self.connected(SessionMiddlewareStack, cookie[:-1])
        assert (await wire.receive_json_from())["session"] == {}
        await wire.disconnect()

    async def test_it_knows_the_user(self):
        await get_user_model().objects.acreate_user("hanako")
        wire = await self.connected(AuthMiddlewareStack, await self.cookie("sign_in?name=hanako"))
        assert (await wire.receive_json_from())["user"] == "hanako"
        await wire.disconnect()
