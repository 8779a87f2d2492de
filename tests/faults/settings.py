"""The test site as the storm needs it: a short lease, room for many readers, and with Redis a queue."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import CHATSESSION

ROOT_URLCONF = "tests.faults.urls"
CHATSESSION = {**CHATSESSION, "MAX_STREAMS_PER_OWNER": 1000}
if "TEST_FAULTS_REDIS" in os.environ:
    CHATSESSION |= {"REDIS_URL": os.environ["TEST_FAULTS_REDIS"], "MAX_RUNNING": 10}
    SESSION_ENGINE = f"chatsession.stores.{os.environ['TEST_FAULTS_SESSIONS']}"
CHATSESSION["MODELS"] = {
    **CHATSESSION["MODELS"],
    "forgetful": {"BACKEND": "tests.faults.backends.Forgetful", "OPTIONS": {"delay": 0}},
}
