"""From a backend's chunks to a run's end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from django.utils import translation
from django.utils.translation import gettext as _

from chatsession import connections
from chatsession.backends.base import BackendError, is_async
from chatsession.models import Message
from chatsession.runs.log import Outcome
from chatsession.runs.seats import Slot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chatsession.backends.base import Backend, Prompt
    from chatsession.runs.run import Run

    Sit = Callable[[Run], Awaitable[Slot]]

logger = logging.getLogger("chatsession.runs")


async def produce(run: Run, backend: Backend, prompt: Prompt, sit: Sit | None) -> None:
    """Write the answer, where one is to ``sit`` in a seat. Whatever happens becomes ``run.ending``."""
    with translation.override(prompt.language):
        try:
            await _in_seat(run, backend, prompt, sit)
        except asyncio.CancelledError:
            status, error = Message.Status.STOPPED, ""
        except BackendError as refused:
            logger.warning("Run %s: %s (%r)", run.id, refused.message, refused.__cause__)
            status, error = Message.Status.ERROR, str(refused.message)
        except (Exception, SystemExit):
            logger.exception("Run %s failed (request %s)", run.id, run.message.request_id)
            status, error = Message.Status.ERROR, _("The answer failed. Please try again.")
        else:
            status, error = Message.Status.COMPLETE, ""
    run.ending = Outcome(status, run.usage, error)


async def _in_seat(run: Run, backend: Backend, prompt: Prompt, sit: Sit | None) -> None:
    slot = await sit(run) if sit else Slot(lambda: None)
    try:
        await _consume(run, backend, prompt, slot)
    finally:
        slot.drop()


async def _consume(run: Run, backend: Backend, prompt: Prompt, slot: Slot) -> None:
    if is_async(backend):
        result: Any = backend.stream(prompt)
    else:
        result = await in_thread(lambda: _iterate(run, backend, prompt), slot)
    if isinstance(result, AsyncIterator):
        try:
            async for chunk in result:
                run.append(chunk)
        finally:
            if (close := getattr(result, "aclose", None)) is not None:
                await close()
    elif hasattr(result, "__await__"):
        run.append(await result)


def _iterate(run: Run, backend: Backend, prompt: Prompt) -> Any:
    """Consume what a sync backend answers; what only a loop can consume goes back to it."""
    with translation.override(prompt.language):  # of a copied context Django does not take it, in a thread
        return _append_all(run, backend.stream(prompt))


def _append_all(run: Run, result: Any) -> Any:
    if isinstance(result, AsyncIterator) or hasattr(result, "__await__"):
        return result
    if isinstance(result, str):
        run.append(result)
        return None
    for chunk in result:
        if run.stopping:
            break
        run.append(chunk)
    if isinstance(result, Iterator) and (close := getattr(result, "close", None)) is not None:
        close()
    return None


async def in_thread(function: Callable[[], Any], slot: Slot) -> Any:
    """Run ``function`` in a thread of its own, in this context.

    Not in a pool: a function that never returns would hold a place in it, and keep the process from
    ending. Cancelled, the wait ends at once; the thread is left to itself and holds the slot.
    """
    loop, future = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
    context = contextvars.copy_context()

    def deliver(set_result: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            set_result(value)

    def target() -> None:
        try:
            outcome = (future.set_result, context.run(function))
        except BaseException as error:
            outcome = (future.set_exception, as_failure(error))
        finally:
            connections.release()
            slot.drop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, *outcome)

    slot.hold()
    try:
        threading.Thread(target=target, name="chatsession-backend", daemon=True).start()
    except RuntimeError:  # there is none to be had
        slot.drop()
        raise
    return await future


def as_failure(error: BaseException) -> Exception:
    """What a loop can be told: a future takes no StopIteration, and SystemExit would end the loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    failure = RuntimeError(f"The backend raised {error!r}")
    failure.__cause__ = error
    return failure
