"""With TEST_DEAF nobody looks at the database of their own accord: what arrives has come by Redis."""

from __future__ import annotations

import os

from chatsession.runs import stored, ticker
from chatsession.stores import attendance
from tests.urls import urlpatterns

__all__ = ["urlpatterns"]

stored.LEASE = float(os.environ.get("TEST_LEASE", stored.LEASE))
if "TEST_DEAF" in os.environ:
    stored.StoredRun.poll = ticker.TICK = attendance.INTERVAL = 3600.0
