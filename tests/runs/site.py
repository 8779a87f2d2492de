"""The test site of which several processes run: TEST_CHATSESSION adds settings, as JSON."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import CHATSESSION

ROOT_URLCONF = "tests.runs.site_urls"
CHATSESSION |= json.loads(os.environ["TEST_CHATSESSION"])
