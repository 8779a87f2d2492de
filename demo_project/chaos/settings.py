"""The demo with a button that kills its worker, for ``make chaos``."""

from __future__ import annotations

from pathlib import Path

from demo_project.settings import *  # noqa: F403
from demo_project.settings import TEMPLATES

TEMPLATES[0]["DIRS"] = [Path(__file__).parent / "templates"]
ROOT_URLCONF = "demo_project.chaos.urls"
SESSION_ENGINE = "chatsession.stores.db"  # memory would die with the worker
