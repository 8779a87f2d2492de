"""The test site with a limit that a test can reach."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import CHATSESSION

CHATSESSION = CHATSESSION | {"MAX_STREAMS_PER_OWNER": 3}
