"""``manage.py clearsessions``, with or without ``django.contrib.sessions`` among the installed apps."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _


class Command(BaseCommand):
    help = "Remove expired sessions from the store of SESSION_ENGINE. Run it daily."

    def handle(self, **options: Any) -> None:
        store = import_module(settings.SESSION_ENGINE).SessionStore
        try:
            store.clear_expired()
        except NotImplementedError as error:
            raise CommandError(f"{settings.SESSION_ENGINE} cannot clear expired sessions.") from error
        if getattr(store, "per_process", False):
            self.stderr.write(
                _("Sessions in memory belong to the server's process, which removes them itself.")
            )
