"""What the tests of a store's contract share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import override_settings

from chatsession.stores.base import BaseStore

if TYPE_CHECKING:
    from django.test import SimpleTestCase as Case
else:
    Case = object


class StoreFace(Case):
    """Calls the store by its sync methods or their twins; values once loaded are reached without either."""

    #: The class under test.
    store: type[BaseStore]

    def having(self, **options: Any) -> override_settings:
        """These options beside what the site has set."""
        return override_settings(CHATSESSION={**getattr(settings, "CHATSESSION", {}), **options})

    async def do(self, session: BaseStore, method: str, *arguments: Any) -> Any:
        return await sync_to_async(getattr(session, method))(*arguments)

    async def new(self, **values: Any) -> BaseStore:
        session = self.store()
        session.update(values)
        await self.do(session, "save")
        return session

    async def open(self, session: BaseStore) -> BaseStore:
        """The same session as another request finds it."""
        other = self.store(session.session_key)
        await self.do(other, "has_key", "")
        return other

    async def stored(self, session: BaseStore) -> dict[str, Any]:
        return dict(await self.open(session))

    async def info(self, session: BaseStore) -> Any:
        return await sync_to_async(self.store.info)(session.handle)
