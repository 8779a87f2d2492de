"""The test site among what people run beside it; the environment chooses the user model."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403

AUTH_USER_MODEL = os.environ.get("TEST_USER_MODEL", "auth.User")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.thirdparty.urls"
INSTALLED_APPS = [
    *INSTALLED_APPS,  # noqa: F405
    "django.contrib.humanize",
    "tests.thirdparty.users",
    "allauth",
    "allauth.account",
    "allauth.usersessions",
    "channels",
    "corsheaders",
    "debug_toolbar",
    "rest_framework",
]
MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",
    "debug_toolbar.middleware.DebugToolbarMiddleware",
    *MIDDLEWARE,  # noqa: F405
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
]
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGIN_METHODS = {"username"}
LOGIN_REDIRECT_URL = "/session/dump"
USERSESSIONS_TRACK_ACTIVITY = True

FRONT_END = os.environ.get("TEST_FRONT_END", "https://front.example")
CORS_ALLOWED_ORIGINS = CSRF_TRUSTED_ORIGINS = [FRONT_END]
CORS_ALLOW_CREDENTIALS = True

DEBUG_TOOLBAR_CONFIG = {
    "SHOW_TOOLBAR_CALLBACK": "tests.thirdparty.urls.shows_toolbar",
    "IS_RUNNING_TESTS": False,
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}
