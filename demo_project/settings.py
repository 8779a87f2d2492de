"""A site of a chat, an admin and a login; its environment chooses the rest.

DEMO_STORE          where sessions live: "db", "redis" (default with a REDIS_URL) or "memory"
DATABASE_URL        sqlite:///path, postgres://user:password@host:port/name; default: a SQLite file in here
REDIS_URL           redis://host:port/number
OPENAI_BASE_URL     a server that speaks OpenAI's protocol; without it and the key, the demo model answers
OPENAI_API_KEY      its key
OPENAI_MODEL        its model, default "gpt-4o-mini"
DEMO_ADMIN_PASSWORD the admin's password
HOST, PORT          where start.py lets it listen
DEBUG               "1" (default) or "0"; with 0 the cookies are Secure
ALLOWED_HOSTS       names the site answers to, with commas between them; default: localhost and HOST
SECRET_KEY          default: made once per checkout
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from demo_project import database_url, secret_key

HERE = Path(__file__).resolve().parent

DEBUG = os.environ.get("DEBUG", "1").lower() in {"1", "true", "yes", "on"}
SECRET_KEY = os.environ.get("SECRET_KEY") or secret_key.of_checkout(HERE / ".secret_key")
OWN_HOSTS = f"localhost,.localhost,127.0.0.1,[::1],{os.environ.get('HOST', '')}"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", OWN_HOSTS).split(",")

INSTALLED_APPS = [
    "demo_project",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "chatsession",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "chatsession.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "demo_project.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
STATIC_ROOT = HERE / "static_root"
DATABASES = {
    "default": database_url.parse(os.environ.get("DATABASE_URL", f"sqlite:///{HERE / 'db.sqlite3'}"))
}

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ja", "日本語")]

REDIS_URL = os.environ.get("REDIS_URL") or None
SESSION_ENGINE = f"chatsession.stores.{os.environ.get('DEMO_STORE') or ('redis' if REDIS_URL else 'db')}"
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "/chat/"

CHATSESSION: dict[str, Any] = {"REDIS_URL": REDIS_URL}
if os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY"):
    CHATSESSION["MODELS"] = {
        "default": {
            "BACKEND": "chatsession.backends.openai.OpenAIBackend",
            "OPTIONS": {
                "model": os.environ.get("OPENAI_MODEL", "gpt-4o-mini"),
                "base_url": os.environ.get("OPENAI_BASE_URL") or None,
                "api_key": os.environ.get("OPENAI_API_KEY") or None,
            },
        }
    }
