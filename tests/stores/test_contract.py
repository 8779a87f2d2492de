from __future__ import annotations

from django.test import SimpleTestCase, TransactionTestCase

from chatsession.stores import db, memory
from chatsession.testing import AsyncStoreContract, StoreContract


class MemoryTests(StoreContract, SimpleTestCase):
    store = memory.SessionStore


class AsyncMemoryTests(AsyncStoreContract, SimpleTestCase):
    store = memory.SessionStore


class DatabaseTests(StoreContract, TransactionTestCase):
    store = db.SessionStore


class AsyncDatabaseTests(AsyncStoreContract, TransactionTestCase):
    store = db.SessionStore
