from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from chatsession.asgi import StreamHandoff

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
application = get_asgi_application()
if os.environ.get("TEST_HANDOFF"):
    application = StreamHandoff(application)
