"""Helpers for the tests of sites that use this package."""

from chatsession.testing.backends import BackendContract as BackendContract
from chatsession.testing.backends import FakeBackend as FakeBackend
from chatsession.testing.chat import Answer as Answer
from chatsession.testing.chat import asend as asend
from chatsession.testing.chat import inline_runs as inline_runs
from chatsession.testing.chat import send as send
from chatsession.testing.stores import AsyncStoreContract as AsyncStoreContract
from chatsession.testing.stores import StoreContract as StoreContract
from chatsession.testing.stores import session_cookie as session_cookie
