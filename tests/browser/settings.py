"""The demo with as many seats as the environment says, and with a quick login."""

from __future__ import annotations

import os

from demo_project.settings import *  # noqa: F403

CHATSESSION = {"MAX_RUNNING": int(os.environ["SEATS"])}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
