from __future__ import annotations

import os

from chatsession.runs import stored
from tests.urls import urlpatterns

__all__ = ["urlpatterns"]

stored.LEASE = float(os.environ.get("TEST_LEASE", stored.LEASE))
