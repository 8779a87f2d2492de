"""Sessions in the tests of a site, and the contract every store keeps."""

from __future__ import annotations

from chatsession import signing


def session_cookie(session_key: str) -> str:
    """The cookie's value for a session key: for RequestFactory, and for browsers of a live server."""
    return signing.sign(session_key)
