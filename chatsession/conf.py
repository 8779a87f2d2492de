"""The settings, one typed property each, read at every access so that ``override_settings`` works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from django.conf import settings
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.http import HttpRequest

DEFAULT_MODELS: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "chatsession.backends.demo.DemoBackend"},
}
DEFAULT_PERMISSIONS: dict[str, str] = {"chat": "anyone", "clear": "anyone", "feedback": "anyone"}
DEFAULT_REDIS_URL: str | None = None
DEFAULT_RETENTION: dict[str, Any] = {"deleted_users": "erase", "days": None}


class Settings:
    """``settings.CHATSESSION`` over the defaults."""

    def _get(self, name: str, default: Any) -> Any:
        return getattr(settings, "CHATSESSION", {}).get(name, default)

    def _get_callable(self, name: str) -> Any:
        path = self._get(name, None)
        return import_string(path) if isinstance(path, str) else path

    @property
    def MODELS(self) -> Mapping[str, Mapping[str, Any]]:
        """Named models: alias -> {"BACKEND": dotted path, "OPTIONS": keyword arguments}.

        Also "CONTEXT_CHARS" (most code points of the history it reads, 100,000) and "SINGLE_TURN" (it reads
        the question alone).
        """
        return cast("Mapping[str, Mapping[str, Any]]", self._get("MODELS", DEFAULT_MODELS))

    @property
    def DATABASE(self) -> str | None:
        """Database alias of sessions and conversations; None asks the routers."""
        return cast("str | None", self._get("DATABASE", None))

    @property
    def OWNER(self) -> Callable[[HttpRequest], str | None] | None:
        """Dotted path of ``request -> owner key or None``; None: the user, else the guest's session."""
        return cast("Callable[[HttpRequest], str | None] | None", self._get_callable("OWNER"))

    @property
    def PERMISSIONS(self) -> Mapping[str, str]:
        """API name -> "anyone", "authenticated", "staff" or a Django permission ("app.codename")."""
        return {**DEFAULT_PERMISSIONS, **self._get("PERMISSIONS", {})}

    @property
    def MAX_MESSAGE_CHARS(self) -> int:
        """Longest user message, in Unicode code points."""
        return cast("int", self._get("MAX_MESSAGE_CHARS", 20_000))

    @property
    def CLAIM_AT_LOGIN(self) -> bool:
        """Whether a guest's conversations become the user's at login."""
        return cast("bool", self._get("CLAIM_AT_LOGIN", True))

    @property
    def ON_DISCONNECT(self) -> Literal["continue", "stop"]:
        """What a run does once its last reader has left."""
        return cast('Literal["continue", "stop"]', self._get("ON_DISCONNECT", "continue"))

    @property
    def MAX_RUNNING(self) -> int:
        """Most answers that are written at once: by the site if it has Redis, else by a process."""
        return cast("int", self._get("MAX_RUNNING", 200))

    @property
    def MAX_QUEUED(self) -> int:
        """Most answers that wait for their turn, of a site or process; one more is refused with 429."""
        return cast("int", self._get("MAX_QUEUED", 200))

    @property
    def MAX_STREAMS_PER_OWNER(self) -> int:
        """Most answers an owner reads at once in a process."""
        return cast("int", self._get("MAX_STREAMS_PER_OWNER", 20))

    @property
    def RATE(self) -> Mapping[str, str]:
        """Sends in a while, to a site or process, by "user" and by "guest" (per IP): "20/m"; s, m, h or d."""
        return cast("Mapping[str, str]", self._get("RATE", {}))

    @property
    def RETENTION(self) -> Mapping[str, Any]:
        """How long data stays: "erase" or "anonymise" the conversations of "deleted_users".

        "days" without a message after which ``clearsessions`` deletes any conversation; None: never.
        """
        return {**DEFAULT_RETENTION, **self._get("RETENTION", {})}

    @property
    def MAX_SESSION_BYTES(self) -> int:
        """Largest encoded session, in bytes."""
        return cast("int", self._get("MAX_SESSION_BYTES", 1_000_000))

    @property
    def MAX_SESSIONS(self) -> int:
        """Most sessions the memory store keeps; the least recently used one goes first."""
        return cast("int", self._get("MAX_SESSIONS", 100_000))

    @property
    def SKIP_HEADERS(self) -> Mapping[str, str]:
        """Request headers, any of which switches the session off: name -> exact value, "*" for any."""
        return cast("Mapping[str, str]", self._get("SKIP_HEADERS", {}))

    @property
    def SESSIONS_PER_USER(self) -> int | None:
        """Most sessions in which one user is logged in; a login beyond it ends the oldest."""
        return cast("int | None", self._get("SESSIONS_PER_USER", None))

    @property
    def ABSOLUTE_AGE(self) -> int | None:
        """Seconds from its creation or last login after which a session ends, however much it is used."""
        return cast("int | None", self._get("ABSOLUTE_AGE", None))

    @property
    def ADOPT(self) -> str | None:
        """Django's engine whose sessions are taken over: ``django.contrib.sessions.backends.db``, cache, …"""
        return cast("str | None", self._get("ADOPT", None))

    @property
    def REDIS_URL(self) -> str | None:
        """``redis://``, ``rediss://`` or ``unix://`` with a database number; None: there is no Redis."""
        return cast("str | None", self._get("REDIS_URL", DEFAULT_REDIS_URL))

    @property
    def CLIENT_IP(self) -> Callable[[HttpRequest], str | None] | None:
        """Dotted path of ``request -> IP address or None``; None: ``REMOTE_ADDR``."""
        return cast("Callable[[HttpRequest], str | None] | None", self._get_callable("CLIENT_IP"))


conf = Settings()
