"""``gunicorn --worker-class gthread demo_project.wsgi``, and the like."""

from __future__ import annotations

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
application = get_wsgi_application()
if settings.DEBUG:
    application = StaticFilesHandler(application)
