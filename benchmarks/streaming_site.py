"""The settings of the site of ``streaming.py``, ours or plain Django."""

from __future__ import annotations

import asyncio
import os

from demo_project import database_url

OURS = os.environ.get("BENCH_SITE", "ours").startswith("ours")
SECRET_KEY = "a key of the benchmark that signs nothing of value"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "benchmarks.streaming_views"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "chatsession",
]
STATIC_URL = "static/"
SESSIONS = "chatsession.middleware" if OURS else "django.contrib.sessions.middleware"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    f"{SESSIONS}.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
if OURS:
    SESSION_ENGINE = "chatsession.stores.db"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {"default": database_url.parse(os.environ.get("BENCH_DATABASE", "sqlite://:memory:"))}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Of 100 that ask plain Django at once some meet "database is locked" after SQLite's five seconds.
    DATABASES["default"]["OPTIONS"] = {"timeout": 120}
CHATSESSION = {
    "MODELS": {"default": {"BACKEND": "benchmarks.streaming_site.model"}},
    "MAX_RUNNING": 5000,
    "MAX_STREAMS_PER_OWNER": 5000,
}


async def model(prompt):
    """As many tokens as the message says, after such pauses, as the peers do."""
    count, pause = prompt.text.split()
    for _ in range(int(count)):
        await asyncio.sleep(float(pause))
        yield "tok "


def application():
    from django.core.asgi import get_asgi_application

    from chatsession.asgi import StreamHandoff

    django = get_asgi_application()
    return StreamHandoff(django) if os.environ.get("BENCH_SITE") == "ours+handoff" else django
