from __future__ import annotations

import os
import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Make the user admin, or give it DEMO_ADMIN_PASSWORD; print its password if that is new."

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = os.environ.get("DEMO_ADMIN_PASSWORD")
        admin, is_new = get_user_model().objects.get_or_create(
            username="admin", defaults={"is_staff": True, "is_superuser": True}
        )
        if is_new or (wanted and not admin.check_password(wanted)):
            password = wanted or secrets.token_urlsafe(9)
            admin.set_password(password)
            admin.save()
            self.stdout.write(password)
