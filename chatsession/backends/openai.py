"""Any server that speaks OpenAI's chat completions, through the official SDK (extra ``openai``)."""

from __future__ import annotations

import logging
import math
import time
from asyncio import get_running_loop, sleep, to_thread
from email.utils import parsedate_to_datetime
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.core.checks import CheckMessage, Error
from django.utils.translation import gettext_lazy as _

from chatsession.backends.base import BackendError, Chunk, Prompt, Reasoning, Usage

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator, Iterator

    from django.utils.functional import Promise
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk

logger = logging.getLogger("chatsession.backends.openai")

CONNECT_SECONDS = 10.0
#: The SDK's own retries wait as long as the server says; a visitor sits in front of this one.
RETRIES, RETRY_BUDGET_SECONDS = 2, 10.0
#: What a visitor may choose; everything else is the site's, in OPTIONS.
VISITOR_PARAMS = ("temperature", "top_p", "max_tokens")

BUSY = _("The model is busy right now. Please try again in a moment.")
REFUSED = _("The model service refused the request. The administrator of this site needs to look at it.")
NOT_ACCEPTED = _("The model could not accept this conversation. It may have become too long.")
SILENT = _("The model did not answer in time. Please try again.")
UNREACHABLE = _("The model cannot be reached right now. Please try again in a moment.")
BROKE_OFF = _("The answer broke off. Please try again.")

#: By class name along the MRO, so that the SDK need not be imported to read this table.
_OPENING_ERRORS: dict[str, Promise] = {
    "RateLimitError": BUSY,
    "BadRequestError": NOT_ACCEPTED,
    "UnprocessableEntityError": NOT_ACCEPTED,
    "InternalServerError": UNREACHABLE,
    "APITimeoutError": SILENT,
    "APIConnectionError": UNREACHABLE,
    "OpenAIError": REFUSED,
}
# The second name is httpx's own: SDKs before 2 let it through while a stream is read.
_READING_ERRORS: dict[str, Promise] = {"APITimeoutError": SILENT, "TimeoutException": SILENT}
_WORTH_A_RETRY = (BUSY, UNREACHABLE)


class OpenAIBackend:
    """Streams chat completions of ``model``.

    ``base_url`` is that of a compatible server, None for OpenAI's. ``api_key`` defaults to the environment's
    ``OPENAI_API_KEY``, which is only ever sent to OpenAI. ``timeout`` is the longest silence, in seconds.
    ``params`` go into every request as they are ("temperature", "extra_body", ...).
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120,
        **params: Any,
    ) -> None:
        self.model = model
        self.base_url = base_url
        self.timeout = timeout
        self.params = params
        self._api_key = api_key
        # A client's connections belong to the loop that opened them.
        self._clients: WeakKeyDictionary[AbstractEventLoop, AsyncOpenAI] = WeakKeyDictionary()

    def check(self, alias: str) -> list[CheckMessage]:
        """Whether the SDK and a model's name are there."""
        messages: list[CheckMessage] = []
        if find_spec("openai") is None:
            hint = 'Install it with: pip install "django-chatsession[openai]"'
            text = f"The model {alias!r} needs the package 'openai', which is not installed."
            messages.append(Error(text, hint=hint, id="chatsession.E030"))
        if not self.model:
            hint = f"Set CHATSESSION['MODELS'][{alias!r}]['OPTIONS']['model']."
            messages.append(Error(f"The model {alias!r} has no name.", hint=hint, id="chatsession.E031"))
        return messages

    async def stream(self, prompt: Prompt) -> AsyncIterator[Chunk]:
        """Answer; closing the iterator closes the HTTP stream at once. Raises BackendError."""
        reading = _Reading()
        async with await self._open(prompt) as answer:
            try:
                async for event in answer:
                    for part in reading.parts(event):
                        yield part
            except Exception as exc:
                raise self._failure(exc, _READING_ERRORS, BROKE_OFF) from None
        if reading.usage:
            yield reading.usage
        if not reading.finished:
            logger.warning("The answer of model %s ended without a finish_reason.", self.model)
            raise BackendError(BROKE_OFF)

    async def _open(self, prompt: Prompt) -> AsyncStream[ChatCompletionChunk]:
        """The open stream; retried only here, before the first token, and never for long."""
        deadline = time.monotonic() + RETRY_BUDGET_SECONDS
        for attempt in range(RETRIES + 1):
            try:
                client = await self._client()
                stream: AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(
                    **self._request(prompt)
                )
                return stream
            except Exception as exc:
                failure = self._failure(exc, _OPENING_ERRORS, REFUSED)
            wait = 0.5 * 2**attempt if failure.retry_after is None else failure.retry_after
            hopeless = failure.message not in _WORTH_A_RETRY or time.monotonic() + wait > deadline
            if hopeless or attempt == RETRIES:
                break
            await sleep(wait)
        raise failure

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        system = [{"role": "system", "content": prompt.system}] if prompt.system else []
        chosen = {name: prompt.params[name] for name in VISITOR_PARAMS if name in prompt.params}
        if self.base_url is None and "max_tokens" in chosen:
            # OpenAI's reasoning models refuse the old name, which other servers still need.
            chosen["max_completion_tokens"] = chosen.pop("max_tokens")
        return {
            "stream_options": {"include_usage": True},
            **self.params,
            **chosen,
            "model": self.model,
            "messages": [*system, *prompt.messages],
            "stream": True,
        }

    async def _client(self) -> AsyncOpenAI:
        loop = get_running_loop()
        if loop not in self._clients:
            # The import takes a second and the certificates some 20 ms: not on the loop.
            self._clients[loop] = await to_thread(self._connect)
        return self._clients[loop]

    def _connect(self) -> AsyncOpenAI:
        openai = import_module("openai")
        client: AsyncOpenAI = openai.AsyncOpenAI(
            base_url=self.base_url,
            api_key=self._api_key or (self.base_url and "none"),
            timeout=openai.Timeout(self.timeout, connect=min(self.timeout, CONNECT_SECONDS)),
            max_retries=0,
        )
        return client

    def _failure(self, exc: Exception, texts: dict[str, Promise], default: Promise) -> BackendError:
        """What the visitor reads; the details go to the log."""
        names = [cls.__name__ for cls in type(exc).__mro__]
        text = next((texts[name] for name in names if name in texts), default)
        if getattr(exc, "code", None) == "insufficient_quota":
            text = REFUSED
        level = logging.ERROR if text is REFUSED else logging.WARNING
        logger.log(level, "The model %s failed: %s: %s", self.model, names[0], self._redacted(exc))
        return BackendError(text, _retry_after(exc))

    def _redacted(self, exc: Exception) -> str:
        """Servers quote the key in their refusals."""
        keys = {self._api_key, *(client.api_key for client in self._clients.values())} - {None, "", "none"}
        text = str(exc)
        for key in keys:
            text = text.replace(str(key), "[api key]")
        return text


class _Reading:
    """The state of one stream."""

    def __init__(self) -> None:
        self.finished = False
        self.usage: Usage | None = None

    def parts(self, event: ChatCompletionChunk) -> Iterator[Chunk]:
        """What one event adds to the answer; servers also send events without choices, text or delta."""
        if event.usage:
            self.usage = Usage(event.usage.prompt_tokens or 0, event.usage.completion_tokens or 0)
        for choice in (event.choices or [])[:1]:
            self.finished = self.finished or bool(choice.finish_reason)
            delta = choice.delta
            # DeepSeek and vLLM say "reasoning_content", OpenRouter and Ollama "reasoning".
            thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
            if isinstance(thought, str) and thought:
                yield Reasoning(thought)
            content = getattr(delta, "content", None)
            if isinstance(content, str) and content:
                yield content


def _retry_after(exc: Exception) -> int | None:
    """Whole seconds of the Retry-After header, which is a number or a date (RFC 9110, 10.2.3)."""
    response = getattr(exc, "response", None)
    header = response.headers.get("retry-after", "") if response is not None else ""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return max(0, math.ceil(seconds)) if math.isfinite(seconds) else None
