"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatSessionConfig(AppConfig):
    """Registers the checks and the signal receivers."""

    name = "chatsession"
    verbose_name = _("Chat and sessions")
    default_auto_field = "django.db.models.BigAutoField"
