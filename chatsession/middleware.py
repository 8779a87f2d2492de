from __future__ import annotations

from django.contrib.sessions.middleware import SessionMiddleware  # noqa: F401
