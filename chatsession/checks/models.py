"""Every entry of ``MODELS``, and what its backend says itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from chatsession.backends.base import get_backend
from chatsession.checks.settings import given
from chatsession.conf import conf


def check_models(**kwargs: Any) -> list[CheckMessage]:
    """Every entry of ``MODELS``, and what its backend says itself."""
    if not isinstance(given(), Mapping) or not isinstance(conf.MODELS, Mapping):
        return []
    found = [message for alias, entry in conf.MODELS.items() for message in check_model(alias, entry)]
    if "default" not in conf.MODELS:
        text = "CHATSESSION['MODELS'] has no model 'default', which answers when a request names none."
        found.append(Error(text, hint="Name one of the models 'default'.", id="chatsession.E012"))
    return found


def check_model(alias: str, entry: Any) -> Iterator[CheckMessage]:
    name = f"CHATSESSION['MODELS'][{alias!r}]"
    if not is_entry(entry):
        hint = "It must be a dictionary with a BACKEND and, if that is a class with arguments, OPTIONS."
        yield Error(f"{name} is not a model.", hint=hint, id="chatsession.E010")
        return
    try:
        backend: Any = get_backend(alias)
    except Exception as error:  # whatever the class of the site or of a library raises
        hint = (
            "BACKEND must be the dotted path of a function, or of a class with a method 'stream' that "
            f"takes these OPTIONS. ({error})"
        )
        yield Error(f"The backend of {name} cannot be made.", hint=hint, id="chatsession.E011")
        return
    if check := getattr(backend, "check", None):
        yield from check(alias)
    if getattr(backend, "is_demo", False) and not settings.DEBUG:
        hint = "Set its BACKEND to a real model's."
        yield Warning(f"{name} is the demo, and DEBUG is off.", hint=hint, id="chatsession.W027")
    if is_open_purse(entry) and not settings.DEBUG:
        hint = 'Set CHATSESSION["RATE"] = {"guest": "20/m"}, or close CHATSESSION["PERMISSIONS"]["chat"].'
        text = f"Anybody may spend the API key of {name}, without a limit."
        yield Warning(text, hint=hint, id="chatsession.W028")


def is_open_purse(entry: Any) -> bool:
    """Whether guests use a model that costs somebody money, as often as they like."""
    has_key = bool(entry.get("OPTIONS", {}).get("api_key"))
    return has_key and conf.PERMISSIONS.get("chat") == "anyone" and "guest" not in conf.RATE


def is_entry(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or "BACKEND" not in entry:
        return False
    return entry.keys() <= {"BACKEND", "OPTIONS", "CONTEXT_CHARS", "SINGLE_TURN"} and isinstance(
        entry.get("OPTIONS", {}), Mapping
    )
