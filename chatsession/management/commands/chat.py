"""``manage.py chat``: the chat in a terminal, or one message a line from a pipe.

The same engine, models and history as the page's: with ``--user`` the conversation is that user's and shows
on their page too.
"""

from __future__ import annotations

import getpass
import logging
import sys
from argparse import ArgumentParser
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import BaseCommand, CommandError
from django.utils import translation
from django.utils.translation import gettext as _

from chatsession.conf import conf
from chatsession.conversations import history
from chatsession.conversations.turns import Ask
from chatsession.conversations.window import text_of
from chatsession.exceptions import ChatError, NotFound
from chatsession.forms import ChatForm
from chatsession.models import Message
from chatsession.runs import recovery, service
from chatsession.runs.follow import Lost, follow

with suppress(ImportError):  # not on Windows
    import readline  # noqa: F401 - input() gets better by it

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chatsession.runs.follow import Source
    from chatsession.runs.log import Event

#: Messages shown of a conversation that is continued.
SHOWN = 6
PROMPT = "> "
#: What a model writes is not to move the cursor or rename the window.
VISIBLE = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class Command(BaseCommand):
    help = "Chat in the terminal. Ctrl-C stops an answer; at the prompt, Ctrl-C or Ctrl-D leaves."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", help="whose conversation it is; without it, this terminal user's")
        parser.add_argument("--conversation", default="", metavar="ID", help="go on with this conversation")
        parser.add_argument("--model", default="default", choices=list(conf.MODELS), metavar="ALIAS")
        parser.add_argument("--language", help='"ja", for example')

    def handle(self, **options: Any) -> None:
        language = options["language"] or translation.get_language() or "en"
        if not translation.check_for_language(language):
            raise CommandError(f"There is no language {language!r}.")
        user_id = find_user(options["user"]) if options["user"] else None
        fields: dict[str, Any] = {
            "owner": f"user:{user_id}" if user_id else f"console:{getpass.getuser()}",
            "conversation_id": options["conversation"] or history.new_id(),
            "model": options["model"],
            "language": language,
            "user_id": user_id,
        }
        with translation.override(language), suppress(KeyboardInterrupt):
            talk(fields) if sys.stdin.isatty() else self.pipe(fields)

    def pipe(self, fields: dict[str, Any]) -> None:
        """One line is one message; the answers go to stdout and nothing else does. Ends at an error."""
        for line in filter(str.strip, sys.stdin):
            try:
                error = answer(line.rstrip("\n"), fields)
            except ChatError as refused:
                error = str(refused.message)
            if error:
                raise CommandError(error)


def find_user(name: str) -> str:
    """The primary key, as text, of the user who logs in under ``name``."""
    try:
        return str(get_user_model()._default_manager.get_by_natural_key(name).pk)
    except ObjectDoesNotExist:
        raise CommandError(f"There is no user {name!r}.") from None


def talk(fields: dict[str, Any]) -> None:
    """Prompt and answer until Ctrl-C or Ctrl-D at the prompt."""
    # Keeps Python's handler of last resort out of the talk; those of LOGGING get what they always get.
    logging.getLogger("chatsession").addHandler(logging.NullHandler())
    print(_("Ctrl-C stops an answer; at the prompt, Ctrl-C or Ctrl-D leaves."))
    show_past(fields)
    for text in lines():
        try:
            error = answer(text, fields)
        except ChatError as refused:
            error = str(refused.message)
        if error:
            print(error)
    print(_("To go on: --conversation %(id)s") % {"id": fields["conversation_id"]})


def lines() -> Iterator[str]:
    """What is typed, line by line."""
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            text = input(PROMPT)
            if text.strip():
                yield text
    print()


def show_past(fields: dict[str, Any]) -> None:
    """The last messages of a conversation that is continued, and the rest of an answer being written."""
    try:
        conversation = history.get_conversation(fields["owner"], fields["conversation_id"])
    except NotFound:
        return
    active = service.active_answer(conversation)
    for message in history.branch(conversation, limit=SHOWN):
        if message.role == Message.Role.USER:
            print(PROMPT + visible(text_of(message.parts)))
        elif active is None or message.pk != active.pk:
            print(visible(text_of(message.parts)))
    if active:
        write(active, recovery.source_of(active))


def answer(text: str, fields: dict[str, Any]) -> str:
    """Ask, and write the answer as it comes; the text of an error, or "". Raises ``ChatError``."""
    form = ChatForm({"text": text, "id": fields["conversation_id"]})
    if not form.is_valid():
        return " ".join(str(error) for errors in form.errors.values() for error in errors)
    turn, source = service.send(Ask(**fields, message_id=history.new_id(), text=text))
    return write(turn.answer, source)


def write(message: Message, source: Source) -> str:
    """Write an answer to stdout until its end, which Ctrl-C brings about; the text of an error, or ""."""
    position = 0
    while True:
        try:
            for batch in follow(source, position):
                for event in batch:
                    position = event.position
                    show(event)
                    if event.kind == "end":
                        return str(event.part["error"])
        except KeyboardInterrupt:
            service.stop(message)
        except Lost:
            message.refresh_from_db()
            source = recovery.source_of(message)


def show(event: Event) -> None:
    """The text of an answer; in a terminal also its place in the queue, its sources and how it ended."""
    if event.kind == "delta" and event.part["type"] == "text":
        sys.stdout.write(visible(event.text))
    elif event.kind == "end":
        sys.stdout.write("\n")
    if sys.stdout.isatty():
        sys.stdout.write(aside(event))
    sys.stdout.flush()


def aside(event: Event) -> str:
    """What a terminal shows beside the answer's text."""
    if event.kind == "queue":
        return _("Waiting, place %(place)d in line") % {"place": event.number} + "\n"
    if event.kind == "part" and event.part["type"] == "source-url":
        return visible(f"\n[{event.part['title']}] {event.part['url']}")
    if event.kind == "end" and event.part["status"] == Message.Status.STOPPED:
        return _("Stopped.") + "\n"
    return ""


def visible(text: str) -> str:
    """``text`` as a terminal may be given it; in a pipe, as it is."""
    return text.translate(VISIBLE) if sys.stdout.isatty() else text
