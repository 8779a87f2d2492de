"""Sessions in the tests of a site, and the contract that every store keeps."""

from __future__ import annotations

from typing import Any

from chatsession import signing
from chatsession.stores.base import BaseStore
from chatsession.testing.store_expiry import ExpiryContract
from chatsession.testing.store_life import LifeContract
from chatsession.testing.store_values import ValuesContract
from chatsession.testing.store_writers import WritersContract


def session_cookie(session_key: str) -> str:
    """The cookie's value for a session key: for RequestFactory, and for browsers of a live server."""
    return signing.sign(session_key)


class StoreContract(ValuesContract, LifeContract, ExpiryContract, WritersContract):
    """The tests a store of one's own has to pass, by its sync methods.

    Put it before ``TransactionTestCase`` (``SimpleTestCase`` without a database), set ``store`` and begin
    every test with an empty store.
    """


class AsyncStoreContract(StoreContract):
    """The same by the async methods."""

    async def do(self, session: BaseStore, method: str, *arguments: Any) -> Any:
        return await getattr(session, f"a{method}")(*arguments)
