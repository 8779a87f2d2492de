"""The test site for ``streams.py``: a model that writes at a given pace, and no limit in the way."""

from __future__ import annotations

import asyncio
import time

from tests.settings import *  # noqa: F403

CHATSESSION = {
    "MODELS": {"default": {"BACKEND": "benchmarks.streams_site.paced"}},
    "MAX_RUNNING": 5000,
    "MAX_STREAMS_PER_OWNER": 5000,
}


async def paced(prompt):
    """As many tokens as the message says, at the pace it says: each its number and when it was written."""
    count, pace = prompt.text.split()
    start = time.monotonic()
    for number in range(int(count)):
        await asyncio.sleep(start + number / float(pace) - time.monotonic())
        yield f"{number}:{time.monotonic():.4f} "
