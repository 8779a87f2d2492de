"""``python -m chatsession [addrport]``: the demo chat with no project. Also the smallest site there is."""

from __future__ import annotations

import secrets
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import django
from django.conf import settings
from django.core.management import call_command
from django.urls import include, path
from django.views.generic import RedirectView

folder = TemporaryDirectory(prefix="chatsession-")

settings.configure(
    DEBUG=True,
    SECRET_KEY=secrets.token_urlsafe(50),
    INSTALLED_APPS=["django.contrib.staticfiles", "chatsession"],
    MIDDLEWARE=[
        "chatsession.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    ROOT_URLCONF=__name__,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    STATIC_URL="static/",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(folder.name) / "db.sqlite3"}},
    SESSION_ENGINE="chatsession.stores.db",
    SESSION_EXPIRE_AT_BROWSER_CLOSE=True,
    LANGUAGE_CODE="en",
    LANGUAGES=[("en", "English"), ("ja", "日本語")],
    TIME_ZONE="UTC",
)
django.setup()

urlpatterns = [
    path("", RedirectView.as_view(url="/chat/")),
    path("chat/", include("chatsession.urls")),
]

if __name__ == "__main__":
    # Ended by SIGTERM too, the folder is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    call_command("migrate", verbosity=0)
    call_command("runserver", *sys.argv[1:2], use_reloader=False)
