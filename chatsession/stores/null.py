"""The session of a request that asked to have none (``SKIP_HEADERS``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from chatsession.stores.base import BaseStore
from chatsession.stores.records import Change, Record, Stamp, merge
from chatsession.stores.steps import Steps

T = TypeVar("T")


class NullSession(BaseStore):
    """Works like any other while the request lasts, knows nobody, and is stored nowhere."""

    is_lasting = False

    async def _arun(self, steps: Steps[T]) -> T:
        return await self._adrive(steps)

    def _fetch(self, key_hash: str) -> None:
        return None

    def _insert(self, key_hash: str, record: Record) -> bool:
        return True

    def _apply(self, key_hash: str, record: Record, change: Change, stamp: Stamp) -> Record | None:
        return merge(record, change, stamp)

    def _rename(self, old_hash: str, new_hash: str) -> bool:
        return True

    def _touch(self, key_hash: str, stamp: Stamp) -> bool:
        return True

    def _remove(self, key_hash: str) -> None:
        return None

    def _excess(self, user_id: str, limit: int) -> Sequence[str]:
        return []

    def _send(self, *signal: Any) -> None:
        return None

    async def _asend(self, *signal: Any) -> None:
        return None
