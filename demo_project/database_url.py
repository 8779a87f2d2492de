"""``DATABASE_URL`` to a ``DATABASES`` entry."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

ENGINES = {"sqlite": "sqlite3", "postgres": "postgresql", "postgresql": "postgresql", "mysql": "mysql"}


def parse(url: str) -> dict[str, Any]:
    """``sqlite:///path``, ``postgres://user:password@host:port/name`` or ``mysql://…``."""
    parts = urlsplit(url)
    engine = {"ENGINE": f"django.db.backends.{ENGINES[parts.scheme]}", "NAME": unquote(parts.path[1:])}
    if parts.scheme == "sqlite":
        return engine
    return engine | {
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
    }
