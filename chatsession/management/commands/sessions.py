"""``manage.py sessions``: list them, end them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from chatsession.sessions import ALL, our_store
from chatsession.stores.base import BaseStore, SessionInfo


class Command(BaseCommand):
    help = "List the valid sessions, or end some: by the first column of the list, or all of a user."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", nargs="?", choices=["list", "revoke"], default="list")
        parser.add_argument("handles", nargs="*", metavar="handle", help="Which to end.")
        parser.add_argument("--user", metavar="USER", help="List those of this user (name or primary key).")
        parser.add_argument("--all-of", metavar="USER", help="End all of this user (name or primary key).")
        parser.add_argument("--limit", type=int, default=100, help="List so many (100), last seen first.")

    def handle(self, **options: Any) -> None:
        try:
            store = our_store()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if options["action"] == "list":
            self._list(store, options["user"], options["limit"])
        else:
            self._revoke(store, options["handles"], options["all_of"])
        if store.per_process:
            self.stderr.write(_("Sessions in memory belong to the server's process: they are not seen here."))

    def _list(self, store: type[BaseStore], user: str | None, limit: int) -> None:
        user_id = None if user is None else user_id_of(user)
        for info in store.list(user_id=user_id, limit=limit):
            self.stdout.write("  ".join(columns(info)))

    def _revoke(self, store: type[BaseStore], handles: Iterable[str], user: str | None) -> None:
        if not handles and user is None:
            raise CommandError(_("Say which: identifiers of sessions, or --all-of and a user."))
        if user is not None:
            found = store.list(user_id=user_id_of(user), limit=ALL)
            handles = [*handles, *(info.handle for info in found)]
        ended = sum(store.revoke(handle) for handle in handles)
        said = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", ended)
        self.stdout.write(said % {"count": ended})


def columns(info: SessionInfo) -> list[str]:
    """Handle, user, created, last seen, expires, network, device."""
    times = (info.created_at, info.last_seen_at, info.expires_at)
    user, network = info.user_id or "-", info.ip or "-"
    return [info.handle, user, *(f"{time:%Y-%m-%d %H:%M:%S}" for time in times), network, info.user_agent]


def user_id_of(text: str) -> str:
    """The primary key of the user of this name; other texts are taken for one."""
    if not apps.is_installed("django.contrib.auth"):
        return text
    from django.contrib.auth import get_user_model

    users: Any = get_user_model()
    user = users._default_manager.filter(**{users.USERNAME_FIELD: text}).first()
    return text if user is None else str(user._meta.pk.value_to_string(user))
