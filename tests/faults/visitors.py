"""People who use the chat roughly: they leave, reload, stop, send twice, open a second tab."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from http.cookies import SimpleCookie

from tests.faults.reading import Reading
from tests.faults.wire import Broken, request

PROMPTS = ["/slow 20", "/slow 50", "/slow 100", "/slow 150", "/long 2000", "/long 20000", "/markdown"]
PROMPTS += ["My name is Hanako.", "What is my name?", "/slow 60 日本語で", "How do I install it?"]


class Storm:
    """What all share: the server, the dice, the figures. ``over`` is set when nothing new is begun.

    ``refusals`` are what a visitor takes and tries again.
    """

    def __init__(self, port, dice, refusals):
        self.port, self.dice, self.refusals = port, dice, refusals
        self.figures = Counter()
        self.readings, self.faults = [], []
        #: (conversation, message ID) -> text, of every send that was answered with 200.
        self.acknowledged = {}
        self.over = asyncio.Event()

    def happens(self, percent):
        return self.dice.random() * 100 < percent

    async def pause(self, longest):
        await asyncio.sleep(self.dice.uniform(0, longest))


class Visitor:
    """A browser: cookies, and one conversation."""

    def __init__(self, storm):
        self.storm = storm
        self.id = uuid.UUID(int=storm.dice.getrandbits(128)).hex
        self.headers = {}
        self.model = "default"

    async def arrive(self):
        while not self.headers:
            try:
                async with request(self.storm.port, "GET", "/chat/") as response:
                    await response.read()
                    if response.status in self.storm.refusals:
                        raise Broken
                    cookies = SimpleCookie()
                    for line in response.all("set-cookie"):
                        cookies.load(line)
                    self.headers = {
                        "Cookie": "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items()),
                        "X-CSRFToken": cookies["csrftoken"].value,
                    }
            except Broken:
                await asyncio.sleep(0.3)

    async def live(self):
        await self.arrive()
        await self.storm.pause(3)
        while not self.storm.over.is_set():
            await self.turn()
            await self.storm.pause(1)

    async def turn(self):
        """One question, and what else happens meanwhile."""
        text, message_id = self.storm.dice.choice(PROMPTS), uuid.uuid4().hex
        if self.storm.happens(10):
            text += " 🎈"
        self.model = "forgetful" if self.storm.happens(40) else "default"
        also = [
            (20, lambda: self.ask(text, message_id, "double sends")),
            (20, lambda: self.reload("reloads")),
            (20, lambda: self.reload("second tabs")),
            (15, lambda: self.ask(text, uuid.uuid4().hex, "rival sends")),
            (15, self.stop),
        ]
        tasks = [self.ask(text, message_id, "sends")]
        tasks += [later(self.storm, action) for percent, action in also if self.storm.happens(percent)]
        await asyncio.gather(*tasks)

    def stream(self, path, method="GET", body=None, **headers):
        return request(self.storm.port, method, f"/chat/api/{path}", self.headers | headers, body)

    async def ask(self, text, message_id, name):
        """Send until it is answered, then read. A user who is told to wait does so and sends again."""
        self.storm.figures[name] += 1
        message = {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}
        body = {"id": self.id, "message": message, "model": self.model}
        for _ in range(200):
            reading = Reading(self.id)
            try:
                async with self.stream("chat", "POST", body) as response:
                    if response.status == 200:
                        self.storm.acknowledged[self.id, message_id] = text
                        self.storm.readings.append(reading)
                        await self.read(response, reading)
                    elif not await self.refused(response):
                        return
            except Broken:
                self.storm.figures["broken connections"] += 1
            if reading in self.storm.readings:
                await self.go_on(reading)
                if reading.end != "error" or self.storm.happens(30):
                    return
                self.storm.figures["retries"] += 1
            await asyncio.sleep(0.3)
        self.storm.faults.append(f"never answered: {text}")

    async def refused(self, response):
        """Whether it makes sense to send again."""
        self.storm.figures[f"HTTP {response.status}"] += 1
        body = await response.read()
        if response.status not in self.storm.refusals:
            self.storm.faults.append(f"HTTP {response.status}: {body[:200]}")
        return not self.storm.over.is_set()

    async def read(self, response, reading):
        """To the end, or until this client has enough of the connection."""
        patience = self.storm.dice.uniform(0, 4) if self.storm.happens(30) else None
        try:
            async with asyncio.timeout(patience):
                async for event_id, frame in response.events():
                    reading.apply(event_id, frame)
        except TimeoutError:
            self.storm.figures["dropped connections"] += 1

    async def go_on(self, reading):
        """Resume until the end is read; some never come back."""
        if self.storm.happens(10):
            self.storm.figures["readers that left"] += 1
            return
        while not reading.end:
            await asyncio.sleep(0.3)
            nothing = await self.resume(reading)
            reading.end = reading.end or nothing
        self.storm.figures[f"read to {reading.end!r}"] += 1
        self.storm.figures["replays"] += reading.replays

    async def resume(self, reading):
        """The end if the server says that there is nothing more."""
        self.storm.figures["resumes"] += 1
        by_header = {"Last-Event-ID": reading.cursor} if self.storm.happens(50) else {}
        query = "" if by_header else f"?after={reading.cursor}"
        try:
            async with self.stream(f"chat/{self.id}/stream{query}", **by_header) as response:
                if response.status == 200:
                    await self.read(response, reading)
                elif response.status == 204:
                    return "nothing more"
                else:
                    await self.refused(response)
        except Broken:
            self.storm.figures["broken connections"] += 1
        return None

    async def reload(self, name):
        """A page that knows nothing yet and follows what is being written."""
        self.storm.figures[name] += 1
        reading = Reading(self.id)
        try:
            async with self.stream(f"chat/{self.id}/stream") as response:
                if response.status != 200:
                    return
                await self.read(response, reading)
        except Broken:
            self.storm.figures["broken connections"] += 1
        if reading.cursor:
            self.storm.readings.append(reading)
            await self.go_on(reading)

    async def stop(self):
        self.storm.figures["stops"] += 1
        try:
            async with self.stream(f"chat/{self.id}/stop", "POST", {}) as response:
                await response.read()
        except Broken:
            self.storm.figures["broken connections"] += 1

    async def quiet(self):
        """Look until nothing is being written; whoever looks helps."""
        while True:
            try:
                async with self.stream(f"chat/{self.id}/stream") as response:
                    if response.status in (204, 404):
                        return
                    await response.read()
                    await asyncio.sleep(0 if response.status == 200 else 0.3)
            except Broken:
                await asyncio.sleep(0.3)


async def later(storm, action):
    await storm.pause(3)
    await action()
