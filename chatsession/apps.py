"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class ChatSessionConfig(AppConfig):
    """Registers the checks and the signal receivers."""

    name = "chatsession"
    verbose_name = _("Chat and sessions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Wire what the rest of Django is to tell us."""
        from django.conf import settings
        from django.contrib.auth.signals import user_logged_in
        from django.db.models.signals import post_delete

        from chatsession.checks import register_checks
        from chatsession.retention import forget
        from chatsession.views.owners import claim_at_login

        register_checks()
        user_logged_in.connect(claim_at_login, dispatch_uid="chatsession.claim")
        if settings.AUTH_USER_MODEL.partition(".")[0] in apps.app_configs:
            post_delete.connect(forget, settings.AUTH_USER_MODEL, dispatch_uid="chatsession.forget")
