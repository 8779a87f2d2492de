"""Sign and verify the session ID of the cookie, and hash it for storage.

Only the bare ID is signed. The time in the signature informs (was this cookie ever ours, how old is
it?); whether a session is still valid is decided by its record.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone
from itsdangerous import BadSignature, TimestampSigner

# Key, time, signature. Base64 as itsdangerous reads it has many spellings of the same bytes (it skips what is
# not of its alphabet, and the last letter has spare bits); one of them is a token, the others are not.
_TOKEN = re.compile(r"[a-z0-9]{32}\.[A-Za-z0-9_-]{1,11}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class Signature(NamedTuple):
    """What a genuine token says. ``current``: it was signed with ``SECRET_KEY``, not with a fallback."""

    session_key: str
    signed_at: datetime
    current: bool

    @property
    def age(self) -> float:
        """Seconds since it was made; below 0 where the clocks differ."""
        return timezone.now().timestamp() - self.signed_at.timestamp()


@lru_cache(maxsize=16)
def _signer(keys: tuple[str | bytes, ...], cookie_name: str) -> TimestampSigner:
    return TimestampSigner(
        [key.encode() if isinstance(key, str) else key for key in keys],
        salt=f"chatsession.signing:{cookie_name}",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )


def _current() -> TimestampSigner:
    return _signer((settings.SECRET_KEY,), settings.SESSION_COOKIE_NAME)


def _fallback() -> TimestampSigner:
    # itsdangerous takes the oldest key first, Django lists the newest first.
    return _signer(tuple(reversed(settings.SECRET_KEY_FALLBACKS)), settings.SESSION_COOKIE_NAME)


def sign(session_key: str) -> str:
    """The cookie's value for a session key."""
    return _current().sign(session_key).decode()


def unsign(token: str) -> Signature:
    """The content of a token made by ``sign()``, by this key or an older one.

    Raises ``itsdangerous.BadSignature`` for everything else, whatever the bytes.
    """
    if not _TOKEN.fullmatch(token):
        raise BadSignature("Not a session token")
    try:
        return _read(_current(), token, current=True)
    except BadSignature:
        if not settings.SECRET_KEY_FALLBACKS:
            raise
    return _read(_fallback(), token, current=False)


def _read(signer: TimestampSigner, token: str, *, current: bool) -> Signature:
    session_key, signed_at = signer.unsign(token, return_timestamp=True)
    return Signature(session_key.decode(), signed_at, current)


def hash_key(session_key: str) -> str:
    """What is stored instead of the key: fast and unsalted, as befits 165 random bits."""
    return "1$" + hashlib.sha256(session_key.encode()).hexdigest()


def is_hash(value: str) -> bool:
    """Whether a presented value looks like a stored hash, which nobody may present."""
    return value.startswith("1$")
