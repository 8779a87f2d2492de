"""The test site as the storm needs it: a short lease, and room for many readers."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import CHATSESSION

ROOT_URLCONF = "tests.faults.urls"
CHATSESSION = {**CHATSESSION, "MAX_STREAMS_PER_OWNER": 1000}
CHATSESSION["MODELS"] = {
    **CHATSESSION["MODELS"],
    "forgetful": {"BACKEND": "tests.faults.backends.Forgetful", "OPTIONS": {"delay": 0}},
}
