"""``manage.py clearsessions``, with or without ``django.contrib.sessions`` among the installed apps."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.translation import gettext as _

from chatsession.conf import conf
from chatsession.conversations import guests
from chatsession.retention import expire
from chatsession.stores.configured import configured_store

#: A request that takes longer than this to store its session is not waited for, in seconds.
SLOWEST_REQUEST = 3600


class Command(BaseCommand):
    help = (
        "Remove expired sessions from the store of SESSION_ENGINE, and the conversations of guests whose "
        "session is gone, and those older than RETENTION allows. Run it daily."
    )

    def handle(self, **options: Any) -> None:
        store = import_module(settings.SESSION_ENGINE).SessionStore
        try:
            store.clear_expired()
        except NotImplementedError as error:
            raise CommandError(f"{settings.SESSION_ENGINE} cannot clear expired sessions.") from error
        if conf.ADOPT:
            import_module(conf.ADOPT).SessionStore.clear_expired()
        if conf.OWNER is None:
            sweep_guests()
        expire()
        if getattr(store, "per_process", False):
            self.stderr.write(
                _("Sessions in memory belong to the server's process, which removes them itself.")
            )


def sweep_guests() -> None:
    """By the sessions where they can be asked; else what was not used for a session's whole life."""
    store = configured_store()
    if store is None or store.per_process:
        age = conf.ABSOLUTE_AGE or settings.SESSION_COOKIE_AGE
        guests.sweep(lambda asked: set(), unused_since=timezone.now() - timedelta(seconds=age))
    else:
        before = timezone.now() - timedelta(seconds=SLOWEST_REQUEST)
        guests.sweep(store.guests_among, unused_since=before)
