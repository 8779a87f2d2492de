"""Redis for tests: an empty database of the server ``TEST_REDIS``, and servers that may be killed."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.test import override_settings

from chatsession.redis import PREFIX
from tests.processes import free_port, wait_for

SERVER = os.environ.get("TEST_REDIS", "redis://127.0.0.1:6379")


@cache
def database():
    """The URL of a database that no other run of tests uses; None if no server answers.

    That is the one that ``TEST_REDIS`` names, else an empty one, which is marked for as long as this runs.
    """
    if urlsplit(SERVER).path.strip("/"):
        return SERVER
    with suppress(redis.ConnectionError):
        return next(filter(claim, (f"{SERVER.rstrip('/')}/{number}" for number in range(15, 0, -1))), None)
    return None


def claim(url):
    with redis.Redis.from_url(url) as connection:
        claimed = connection.dbsize() == 0 and connection.set("tests", os.getpid(), nx=True, ex=3600)
    if claimed:
        atexit.register(release, url)
    return claimed


def needed():
    """The same, or this test is skipped; on CI it fails."""
    return database() or missing(f"no {SERVER} with an empty database: apt-get install redis-server")


def missing(what):
    import pytest  # the servers of tests have no need of it

    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def clean(url):
    with redis.Redis.from_url(url) as connection:
        if keys := list(connection.scan_iter(f"{PREFIX}:*", count=1000)):
            connection.unlink(*keys)


def release(url):
    with suppress(redis.ConnectionError), redis.Redis.from_url(url) as connection:
        connection.unlink("tests")
        clean(url)


def configured(url, **options):
    return override_settings(CHATSESSION={**settings.CHATSESSION, "REDIS_URL": url, **options})


class OnRedis:
    """For a TestCase: every test begins with an empty Redis, which the site's settings name."""

    def setUp(self):
        clean(needed())
        self.enterContext(configured(needed()))
        super().setUp()


class Server:
    """A server of the test's own; it keeps nothing when it stops unless ``options`` say so."""

    def __init__(self, *options):
        if not shutil.which("redis-server"):
            missing("no redis-server: apt-get install redis-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.options = options
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--save", "", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_for(self.process, self.port)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
