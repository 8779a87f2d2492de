"""For uvicorn with two workers; it starts a new one for each that dies."""

from __future__ import annotations

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.chaos.settings")
application = ASGIStaticFilesHandler(get_asgi_application())

from chatsession.runs import stored  # noqa: E402
from chatsession.runs.engine import engine  # noqa: E402

#: A worker counts as dead after so many seconds; 20 are more than anybody wants to watch.
stored.LEASE = 3
#: Tells the button whom to kill.
engine.ticker.token = f"{os.getpid()}-{engine.lease}"[:32]
