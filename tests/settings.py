"""The smallest site that has both halves; the environment chooses store and database."""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from pathlib import Path

from demo_project import database_url

DEBUG = False
SECRET_KEY = "a test key that signs nothing of value"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ja", "日本語")]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"

INSTALLED_APPS = [
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
]
SESSION_ENGINE = f"chatsession.stores.{os.environ.get('TEST_STORE', 'db')}"
CHATSESSION = {
    "MODELS": {"default": {"BACKEND": "chatsession.backends.demo.DemoBackend", "OPTIONS": {"delay": 0}}}
}
if os.environ.get("TEST_STORE") == "redis":
    # The servers that tests start find the same database in their environment.
    os.environ["TEST_REDIS"] = CHATSESSION["REDIS_URL"] = import_module("tests.redis_server").needed()
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
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
# A file, not ":memory:": the threads and server processes of the tests meet in it.
SQLITE = Path(tempfile.gettempdir()) / f"chatsession-tests-{os.getuid()}-{os.getpid()}.sqlite3"
if os.environ.get("TEST_DATABASE_URL", "").startswith("mysql"):
    pymysql = import_module("pymysql")
    pymysql.install_as_MySQLdb()
DATABASES = {"default": database_url.parse(os.environ.get("TEST_DATABASE_URL", f"sqlite:///{SQLITE}"))}
if "TEST_DATABASE_URL" not in os.environ:
    DATABASES["default"]["TEST"] = {"NAME": SQLITE}
