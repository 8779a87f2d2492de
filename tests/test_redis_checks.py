"""The system checks of the Redis store."""

from __future__ import annotations

import sys
from unittest import mock

import pytest

from tests.test_checks import FAKE, chat, found

# Django 6.1 asks the database what its fields can do.
pytestmark = pytest.mark.django_db

REDIS = "chatsession.stores.redis"
URL = "redis://localhost:6379/0"


def test_the_redis_store_needs_a_url(monkeypatch):
    monkeypatch.setattr("chatsession.conf.DEFAULT_REDIS_URL", None)
    assert found(SESSION_ENGINE=REDIS) == ["E033"]
    assert found(SESSION_ENGINE=REDIS, CHATSESSION={"MODELS": FAKE, "REDIS_URL": URL}) == []


def test_redis_needs_its_package():
    options = {"MODELS": FAKE, "REDIS_URL": URL}
    with mock.patch.dict(sys.modules, {"redis": None}):
        assert found(SESSION_ENGINE=REDIS, CHATSESSION=options) == ["E032"]
        assert found(CHATSESSION=options) == ["E032"]


@pytest.mark.parametrize(
    "url", [None, URL, "redis://", "rediss://user:password@example.com", "unix:///run/redis.sock?db=1"]
)
def test_urls_of_redis(url):
    assert chat(REDIS_URL=url) == []


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "redis:6379", "http://localhost", "redis://localhost:port/0", "redis://x/a", 6379],
)
def test_what_is_no_url_of_redis(url):
    assert chat(REDIS_URL=url) == ["E003"]
