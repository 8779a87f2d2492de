"""The default model: honest, offline, deterministic, in English and Japanese."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from chatsession.backends.base import BackendError, Chunk, Prompt, Source, Usage
from chatsession.backends.demo import lookup, memory
from chatsession.backends.demo.phrases import LONG_LIMIT, PHRASES, SLOW_LIMIT
from chatsession.backends.demo.pieces import count_tokens, graphemes, pieces, well_formed

if TYPE_CHECKING:
    from chatsession.backends.demo.memory import Fact

QUOTE_CHARS = 40
#: With no delay between them, so many tokens go out before the loop's other tasks get a turn.
BURST = 16

_JAPANESE = re.compile(r"[぀-ヿ㐀-鿿ｦ-ﾟ]")
_LATIN = re.compile(r"[A-Za-z]")
_COMMAND = re.compile(r"\s*(/[A-Za-z]+)(?:\s+(.*))?\s*", re.S)
_GREETING = re.compile(
    r"\s*(?:hello|hi|hey|good (?:morning|evening)|こんにちは|こんばんは|おはよう|はじめまして)", re.I
)
_HELP = re.compile(r"\s*help\b|\bwhat can you do\b|ヘルプ|使い方|(?:何|なに)が(?:でき|出来)", re.I)
_MARKUP = re.compile(r"([\\`*_\[\]<>])")


class DemoBackend:
    """Remembers the conversation, looks questions up in the package's documentation, and has commands.

    ``delay`` is the pause between two pieces of an ordinary answer, in seconds.
    """

    is_demo = True
    #: The same prompt always gives the same answer, so it can be taken up again from a stored text.
    CONTINUES = True

    def __init__(self, *, delay: float = 0.015) -> None:
        self.delay = delay

    async def stream(self, prompt: Prompt) -> AsyncIterator[Chunk]:
        """Answer in the language of the message; raises BackendError only if asked to, by ``/error``."""
        turn = Turn(prompt)
        written = 0
        async for chunk in self._answer(turn):
            written += isinstance(chunk, str)
            yield chunk
        read = sum(count_tokens(message["content"]) for message in prompt.messages)
        yield Usage(read + count_tokens(prompt.system), written)

    def _answer(self, turn: Turn) -> AsyncIterator[Chunk]:
        if not (command := _COMMAND.fullmatch(turn.text)):
            return self._reply(turn)
        return self._command(turn, command[1].lower(), (command[2] or "").strip())

    async def _reply(self, turn: Turn) -> AsyncIterator[Chunk]:
        section = lookup.find(turn.text, turn.language) if turn.needs_lookup else None
        async for piece in _paced(pieces(turn.opening() + turn.reply(section)), self.delay, turn.written):
            yield piece
        if section:
            yield Source(f"#{section.anchor}", section.title)

    async def _command(self, turn: Turn, name: str, argument: str) -> AsyncIterator[Chunk]:
        tokens, delay = _command_tokens(turn, name, argument), self.delay
        if name == "/long":
            delay = 0
        elif name == "/slow" and (milliseconds := _number(argument, SLOW_LIMIT)) is not None:
            delay = milliseconds / 1000
        async for piece in _paced(tokens, delay, turn.written):
            yield piece
        if name == "/error":
            raise BackendError(_("This error was asked for with /error."))
        if name == "/stall":
            await asyncio.Event().wait()


class Turn:
    """One message of the visitor and what came before it."""

    def __init__(self, prompt: Prompt) -> None:
        self.text = well_formed(prompt.text)
        self.written = len(prompt.written)
        said = [well_formed(message["content"]) for message in prompt.messages if message["role"] == "user"]
        self.before = said[:-1]
        self.number = len(self.before) + 1
        self.language = _language(self.text, prompt.language)
        self.asked = memory.asked(self.text)
        self.asked_back = memory.asks_what_was_said(self.text)
        self.told = list(memory.facts(self.text, self.number))
        self.known = [
            fact for number, text in enumerate(self.before, 1) for fact in memory.facts(text, number)
        ] + self.told

    def say(self, phrase: str, **values: object) -> str:
        """A phrase in the language of this turn."""
        return PHRASES[self.language][phrase].format(**values)

    def opening(self) -> str:
        """Which turn this is and what was said before: the visible proof that the conversation is kept."""
        if not self.before:
            return ""
        phrase = "turn_2" if len(self.before) == 1 else "turn_3"
        return self.say(phrase, turn=self.number, first=_quote(self.before[0]), last=_quote(self.before[-1]))

    @property
    def recalled(self) -> Fact | None:
        """The fact this message asks for."""
        return memory.recall(self.known, self.asked) if self.asked else None

    @property
    def needs_lookup(self) -> bool:
        """Whether the conversation itself does not answer."""
        return not (self.recalled or self.asked_back or self.told or _GREETING.match(self.text))

    def reply(self, section: lookup.Section | None) -> str:
        """The body of the answer."""
        if fact := self.recalled:
            quote = _quote(fact.sentence)
            return _capital(self.say("recalled", turn=fact.turn, quote=quote, **self._told(fact)))
        if self.asked_back:
            return self._said_before()
        if self.told:
            return "\n\n".join(self.say("noted", **self._told(fact)) for fact in self.told)
        if section:
            quote = "\n".join(f"> {line}".rstrip() for line in section.body.splitlines())
            return self.say("found", title=section.title, quote=quote)
        if _HELP.search(self.text):
            return self.say("help")
        if _GREETING.match(self.text):
            return self.say("hello")
        return self.say("not_told" if self.asked else "unknown")

    def _told(self, fact: Fact) -> dict[str, str]:
        label = f"label.{fact.key}"
        known = label in PHRASES[self.language]
        return {
            "label": self.say(label if known else "label.other", key=_quote(fact.key)),
            "value": _quote(fact.value),
        }

    def _said_before(self) -> str:
        if not self.before:
            return self.say("nothing_said")
        if self.asked_back == "first":
            return self.say("said_first", quote=_quote(self.before[0]))
        return self.say("said_last", turn=self.number - 1, quote=_quote(self.before[-1]))


def _command_tokens(turn: Turn, name: str, argument: str) -> Iterable[str]:
    if name == "/echo":
        return pieces(argument or turn.say("echo_what"))
    if name == "/long":
        count = _number(argument, LONG_LIMIT)
        if count is None:
            return pieces(turn.say("number", name=name, limit=LONG_LIMIT, example=1000))
        return _counted(count)
    if name == "/slow" and _number(argument, SLOW_LIMIT) is None:
        return pieces(turn.say("number", name=name, limit=SLOW_LIMIT, example=50))
    if name[1:] in ("help", "slow", "markdown", "code", "error", "stall"):
        return pieces(turn.say(name[1:]))
    return pieces(turn.say("no_command", name=name))


async def _paced(tokens: Iterable[str], delay: float, written: int) -> AsyncIterator[str]:
    for number, token in enumerate(_behind(tokens, written), 1):
        yield token
        if delay or number % BURST == 0:
            await asyncio.sleep(delay)


def _behind(tokens: Iterable[str], written: int) -> Iterator[str]:
    """The tokens without their first ``written`` code points: they are in the answer already."""
    for token in tokens:
        if len(token) > written:
            yield token[written:]
        written = max(written - len(token), 0)


def _counted(count: int) -> Iterator[str]:
    """Numbers, so that a gap or a doubled piece shows; in paragraphs, so that none grows without end."""
    for number in range(1, count + 1):
        yield f"{number}\n\n" if number % 100 == 0 and number < count else f"{number} "


def _number(argument: str, limit: int) -> int | None:
    if not re.fullmatch(r"[0-9,]{1,9}", argument) or not argument.strip(","):
        return None
    number = int(argument.replace(",", ""))
    return number if number <= limit else None


def _language(text: str, fallback: str) -> str:
    """By the words of the visitor; a command's name is not one."""
    words = re.sub(r"^\s*/[A-Za-z]+", "", text)
    if _JAPANESE.search(words):
        return "ja"
    if _LATIN.search(words):
        return "en"
    return "ja" if fallback.startswith("ja") else "en"


def _quote(text: str) -> str:
    """One line, short, and with no formatting of its own."""
    start = " ".join(text[: QUOTE_CHARS * 20].split())
    shown = "".join(list(graphemes(start))[:QUOTE_CHARS])
    return _MARKUP.sub(r"\\\1", shown) + ("…" if len(shown) < len(start) else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
