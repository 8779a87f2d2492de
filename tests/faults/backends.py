from __future__ import annotations

from chatsession.backends.demo import DemoBackend


class Forgetful(DemoBackend):
    """A model that cannot go on from a text, as most cannot: its answers are interrupted."""

    CONTINUES = False
