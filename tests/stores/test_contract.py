from __future__ import annotations

from django.test import SimpleTestCase, TransactionTestCase

from chatsession.stores import db, memory, redis
from chatsession.testing import AsyncStoreContract, StoreContract
from tests.redis_server import OnRedis


class MemoryTests(StoreContract, SimpleTestCase):
    store = memory.SessionStore


class AsyncMemoryTests(AsyncStoreContract, SimpleTestCase):
    store = memory.SessionStore


class DatabaseTests(StoreContract, TransactionTestCase):
    store = db.SessionStore


class AsyncDatabaseTests(AsyncStoreContract, TransactionTestCase):
    store = db.SessionStore


class RedisTests(OnRedis, StoreContract, SimpleTestCase):
    store = redis.SessionStore


class AsyncRedisTests(OnRedis, AsyncStoreContract, SimpleTestCase):
    store = redis.SessionStore
