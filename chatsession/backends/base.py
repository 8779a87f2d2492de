"""What a backend is given, what it yields, and how the models of the settings become backends."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass, field
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from chatsession.backends.function import FunctionBackend
from chatsession.conf import conf
from chatsession.exceptions import ChatSessionError

if TYPE_CHECKING:
    from django.utils.functional import Promise


class Message(TypedDict):
    """One message of the context window; ``role`` is "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Everything a backend may know about the answer it is to write; never the request."""

    #: The last user message.
    text: str
    #: The context window, oldest first; it ends with the last user message.
    messages: list[Message]
    #: The system prompt, "" for none.
    system: str = ""
    #: What the visitor asked of the sampling ("temperature", ...); not trusted.
    params: dict[str, Any] = field(default_factory=dict)
    #: The alias in ``CHATSESSION["MODELS"]``.
    model: str = "default"
    #: The visitor's language code.
    language: str = "en"
    #: The user's primary key as a string, None for a guest.
    user_id: str | None = None
    conversation_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    #: What is written of this answer already: a backend with ``CONTINUES = True`` goes on behind it.
    written: str = ""


@dataclass(frozen=True)
class Reasoning:
    """A piece of the model's thinking, shown apart from the answer."""

    text: str


@dataclass(frozen=True)
class Source:
    """Something the answer rests on."""

    url: str
    title: str = ""


@dataclass(frozen=True)
class Usage:
    """Tokens of the whole answer, by the model's own count."""

    input_tokens: int
    output_tokens: int


#: A ``str`` is the next piece of the answer's text.
Chunk: TypeAlias = str | Reasoning | Source | Usage
Answer: TypeAlias = str | Iterator[Chunk] | AsyncIterator[Chunk] | Awaitable[str]


class Backend(Protocol):
    """A model.

    ``stream`` may be a plain function (it then runs in a thread of its own), an async generator function or
    a coroutine function that returns the whole text. It is closed when the visitor stops the answer.
    A backend may also have ``check(alias) -> list[CheckMessage]``, run with Django's system checks.
    """

    def stream(self, prompt: Prompt, /) -> Answer:
        """Answer ``prompt``; raises BackendError with a text for the visitor."""
        ...


class BackendError(ChatSessionError):
    """The answer failed, with a text the visitor may read; every other exception is shown as a general one.

    ``message`` is translated lazily; ``retry_after`` is in seconds.
    """

    def __init__(self, message: str | Promise, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


def is_async(backend: Backend) -> bool:
    """Whether ``backend.stream`` must be called on an event loop (decided before it is called)."""
    stream: Any = backend.stream
    return any(iscoroutinefunction(f) or inspect.isasyncgenfunction(f) for f in (stream, stream.__call__))


def get_backend(alias: str = "default") -> Backend:
    """The one backend of the model ``alias``; raises ImproperlyConfigured."""
    with _building:
        return _build(alias)


# A model may take long to load, so never twice; reentrant, since a backend may wrap another model's.
_building = RLock()


@cache
def _build(alias: str) -> Backend:
    if alias not in conf.MODELS:
        raise ImproperlyConfigured(f"CHATSESSION['MODELS'] has no model {alias!r}.")
    entry = conf.MODELS[alias]
    try:
        return _resolve(_load(entry["BACKEND"]), entry.get("OPTIONS", {}))
    except (ImportError, KeyError, TypeError) as exc:
        raise ImproperlyConfigured(f"CHATSESSION['MODELS'][{alias!r}] is not a backend: {exc!r}") from exc


def _load(backend: Any) -> Any:
    return import_string(backend) if isinstance(backend, str) else backend


def _resolve(target: Any, options: dict[str, Any]) -> Backend:
    """``target`` is a backend class, a backend, or a function ``prompt -> answer``."""
    if isinstance(target, type):
        target, options = target(**options), {}
    if options:
        raise TypeError("OPTIONS are the arguments of a class, and BACKEND is none")
    if hasattr(target, "stream"):
        backend: Backend = target
        return backend
    if not callable(target):
        raise TypeError("neither a class with a method 'stream' nor a function")
    return FunctionBackend(target)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "CHATSESSION":
        _build.cache_clear()


setting_changed.connect(_forget, dispatch_uid="chatsession.backends")
