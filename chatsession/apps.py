"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatSessionConfig(AppConfig):
    """Registers the checks and the signal receivers."""

    name = "chatsession"
    verbose_name = _("Chat and sessions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Wire what the rest of Django is to tell us."""
        from django.contrib.auth.signals import user_logged_in

        from chatsession.checks import register_checks
        from chatsession.views.owners import claim_at_login

        register_checks()
        user_logged_in.connect(claim_at_login, dispatch_uid="chatsession.claim")
