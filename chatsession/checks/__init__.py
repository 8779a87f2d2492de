"""System checks. Their IDs are stable; ``docs/checks.md`` lists them."""

from __future__ import annotations

from django.core.checks import Tags, register

from chatsession.checks.models import check_models
from chatsession.checks.sessions import check_deployment, check_sessions
from chatsession.checks.settings import check_settings

TAG = "chatsession"


def register_checks() -> None:
    """Called once, when the app is ready."""
    register(check_settings, TAG)
    register(check_models, TAG)
    register(check_sessions, TAG)
    register(check_deployment, TAG, Tags.security, deploy=True)
