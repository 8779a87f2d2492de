"""How one text serves sync and async: operations yield the I/O they want, a driver does it.

An operation is a generator that yields ("name", arguments …) and is sent the result. ``_run()`` calls the
store's method ``_name``, ``_adrive()`` its twin ``_aname`` where there is one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Generator, Mapping
from typing import Any, TypeAlias, TypeVar

from asgiref.sync import sync_to_async
from django.dispatch import Signal

T = TypeVar("T")
Steps: TypeAlias = Generator[tuple[Any, ...], Any, T]


def jitter(attempt: int) -> float:
    """Seconds to wait before another try, random so that rivals part: up to 1 ms, doubling up to 64 ms."""
    return random.uniform(0, 0.001 * 2 ** min(attempt, 6))  # noqa: S311


def resumed(step: tuple[Any, ...], steps: Steps[T]) -> Steps[T]:
    """The steps from the one on that has been asked for already."""
    while True:
        result = yield step
        try:
            step = steps.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


class Driver:
    """Runs operations."""

    def _run(self, steps: Steps[T]) -> T:
        result: Any = None
        while True:
            try:
                name, *arguments = steps.send(result)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            result = getattr(self, f"_{name}")(*arguments)

    async def _arun(self, steps: Steps[T]) -> T:
        """One thread hop for the whole operation, none for one without I/O. A store that never blocks uses
        ``_adrive()`` instead."""
        try:
            first = steps.send(None)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        return await sync_to_async(self._run)(resumed(first, steps))

    async def _adrive(self, steps: Steps[T]) -> T:
        result: Any = None
        while True:
            try:
                name, *arguments = steps.send(result)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if twin := getattr(self, f"_a{name}", None):
                result = await twin(*arguments)
            else:
                result = getattr(self, f"_{name}")(*arguments)

    def _send(self, signal: Signal, details: Mapping[str, Any]) -> None:
        signal.send(type(self), **details)

    async def _asend(self, signal: Signal, details: Mapping[str, Any]) -> None:
        await signal.asend(type(self), **details)

    def _pause(self, attempt: int) -> None:
        time.sleep(jitter(attempt))

    async def _apause(self, attempt: int) -> None:
        await asyncio.sleep(jitter(attempt))
