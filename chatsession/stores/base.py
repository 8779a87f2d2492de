"""The session object: Django's names, sync and async, over ``operations``; and what a store must answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeAlias

from asgiref.sync import sync_to_async
from django.utils import timezone
from itsdangerous import BadSignature

from chatsession import signing
from chatsession.exceptions import ResponseStarted
from chatsession.stores import adoption
from chatsession.stores.loading import Cause
from chatsession.stores.operations import Operations, is_due
from chatsession.stores.records import Record, SessionInfo
from chatsession.stores.values import Values

__all__ = ["BaseStore", "Cause", "SessionInfo"]

# Inside the class, "list" is the method.
Sessions: TypeAlias = list[SessionInfo]


class BaseStore(Operations):
    """A session that writes only the keys it changed, onto whatever the record holds by then."""

    #: Whether the store lives in one process: screens and commands then show that process only.
    per_process = False

    #: Whether anything of it outlives the request.
    is_lasting = True

    _modified = False

    #: The bare key this session was asked for.
    presented_key: str | None = None

    # Verified when somebody asks for the key: requests that leave the session alone need not pay for it.
    _token: str | None = None

    def __init__(self, session_key: str | None = None) -> None:
        """``session_key``: a bare key or a token of ``signing.sign()``; a bad token means no key."""
        if session_key is not None and "." in session_key:
            super().__init__()
            self._token = session_key
        else:
            super().__init__(session_key)
            self.presented_key = self.session_key

    def _get_session_key(self) -> str | None:
        if self._token is not None:
            token, self._token = self._token, None
            self._session_key = self.presented_key = self._unwrap(token)
        return super()._get_session_key()

    def _set_session_key(self, value: str | None) -> None:
        if self._token is not None:
            self._get_session_key()  # what was asked for stays known
        super()._set_session_key(value)

    session_key = property(_get_session_key)
    _session_key = property(_get_session_key, _set_session_key)

    def _unwrap(self, token: str) -> str | None:
        try:
            self.signature = signing.unsign(token)
        except BadSignature:
            self._cause = Cause.BAD_SIGNATURE
            return None
        return self.signature.session_key

    def _validate_session_key(self, key: str | None) -> bool:
        return bool(key and len(key) >= 8 and not signing.is_hash(key))

    # What a visitor of the object may ask

    @property
    def handle(self) -> str:
        """The public name of the record, stable for its life; "" while none is loaded or stored."""
        record = self._session_cache.record if hasattr(self, "_session_cache") else None
        return record.handle if record else ""

    @property
    def has_new_key(self) -> bool:
        """Whether the key is another than the one the session was asked for."""
        return bool(self.session_key != self.presented_key)

    def restore_key(self) -> None:
        """Go back to the key the session was asked for: its record was never renamed."""
        self._session_key = self.presented_key

    @property
    def cause(self) -> Cause:
        """Why this session is new or not. Loads it: in async code, await any ``a…()`` method first."""
        self._get_session()
        return self._cause

    @cause.setter
    def cause(self, value: Cause) -> None:
        self._cause = value

    @property
    def modified(self) -> bool:
        return self._modified

    @modified.setter
    def modified(self, value: bool) -> None:
        if value and self._sealed and self.session_key is None and self._session_cache:
            self._session_cache = self._values()
            raise ResponseStarted
        self._modified = value

    def seal(self) -> None:
        """The response's headers leave: from now on no key can reach the browser."""
        self._modified = False
        self._sealed = True

    # The operations, sync and async

    def _get_session(self, no_load: bool = False) -> Values:
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            self._run(self._opening(no_load))
        return self._session_cache

    async def _aget_session(self, no_load: bool = False) -> Values:
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            await self._arun(self._opening(no_load))
        return self._session_cache

    _session = property(_get_session)

    def load(self) -> Values:  # type: ignore[override]
        """The stored values, empty if there is no valid record; then the key is dropped too."""
        return self._run(self._loading())

    async def aload(self) -> Values:  # type: ignore[override]
        """See load()."""
        return await self._arun(self._loading())

    def save(self, must_create: bool = False) -> None:
        """Write the keys that were changed.

        Raises ``UpdateError`` if the record is gone or was cleared since (the change is lost),
        ``CreateError`` if ``must_create`` meets an existing record, ``ValueNotSerializable`` and
        ``SessionTooLarge`` before anything is written, ``ResponseStarted`` when it is too late for a cookie.
        """
        self._run(self._saving(must_create))

    async def asave(self, must_create: bool = False) -> None:
        """See save()."""
        await self._arun(self._saving(must_create))

    def create(self) -> None:
        """Store the values as a new record under a new key."""
        self._run(self._creating())

    async def acreate(self) -> None:
        """See create()."""
        await self._arun(self._creating())

    def exists(self, session_key: str | None) -> bool:
        return self._run(self._existing(session_key))

    async def aexists(self, session_key: str | None) -> bool:
        """See exists()."""
        return await self._arun(self._existing(session_key))

    def delete(self, session_key: str | None = None) -> None:
        self._run(self._deleting(session_key or self.session_key))

    async def adelete(self, session_key: str | None = None) -> None:
        """See delete()."""
        await self._arun(self._deleting(session_key or self.session_key))

    def clear(self) -> None:
        """Empty the session. Once saved, requests that loaded it earlier can no longer write to it."""
        record = self._session_cache.record if hasattr(self, "_session_cache") else None
        self._session_cache = self._values(record, cleared=True)
        self.accessed = self.modified = True

    def flush(self) -> None:
        """Delete the record at once and forget key and values."""
        self._run(self._flushing())

    async def aflush(self) -> None:
        """See flush()."""
        await self._arun(self._flushing())

    def cycle_key(self) -> None:
        """Give the record a new key; the old one is dead at once. Raises ``ResponseStarted``."""
        self._run(self._cycling())

    async def acycle_key(self) -> None:
        """See cycle_key()."""
        await self._arun(self._cycling())

    def mutate(self, key: str, fn: Callable[[Any], Any], default: Any = None) -> Any:
        """Set ``key`` to ``fn(stored value or default)`` and return it, safe against concurrent writers.

        It is written at once. ``fn`` gets a copy of its own and may run several times. Without a record
        (nobody else can write) it is an ordinary assignment. Raises what ``save()`` raises.
        """
        return self._run(self._mutating(key, fn, default))

    async def amutate(self, key: str, fn: Callable[[Any], Any], default: Any = None) -> Any:
        """See mutate()."""
        return await self._arun(self._mutating(key, fn, default))

    def commit(self) -> bool:
        """What the end of a response does: save what was changed, or touch. Whether it was saved."""
        return self._run(self._committing())

    async def acommit(self) -> bool:
        """See commit()."""
        return await self._arun(self._committing())

    @classmethod
    def attend(cls, handles: Collection[str]) -> set[str]:
        """Which of these sessions, that have open streams, are still valid. The streams count as use."""
        now, valid = timezone.now(), [*cls._valid_of(handles)]
        for info in valid:
            if is_due(info.last_seen_at, now, (info.expires_at - info.last_seen_at).total_seconds()):
                cls._stamp_found(info.handle)
        return {info.handle for info in valid}

    @classmethod
    def _stamp_found(cls, handle: str) -> None:
        session, found = cls(), cls._find(handle)
        if found:
            session._run(session._stamping(*found))

    @classmethod
    def _valid_of(cls, handles: Collection[str]) -> Iterable[SessionInfo]:
        raise NotImplementedError

    @classmethod
    def _find(cls, handle: str) -> tuple[str, Record] | None:
        raise NotImplementedError

    # Another engine's sessions

    def _adopt(self, old_key: str, key_hash: str) -> tuple[Record | None, bool]:
        taken = adoption.take(old_key)
        if taken.values is None:
            return None, taken.rival
        record = self._carrying(taken.values)
        self._insert(key_hash, record)
        return record, False

    async def _aadopt(self, old_key: str, key_hash: str) -> tuple[Record | None, bool]:
        return await sync_to_async(self._adopt)(old_key, key_hash)

    def _insert(self, key_hash: str, record: Record) -> bool:
        raise NotImplementedError

    # The class: what screens and commands ask

    @classmethod
    def list(
        cls, *, user_id: str | None = None, search: str = "", offset: int = 0, limit: int = 100
    ) -> Sessions:
        """Valid sessions, last seen first. ``search``: part of the user agent, start of IP or handle."""
        raise NotImplementedError

    @classmethod
    def count(cls, *, user_id: str | None = None, search: str = "") -> int:
        """How many ``list()`` would give without a limit."""
        raise NotImplementedError

    @classmethod
    def info(cls, handle: str) -> SessionInfo | None:
        """One valid session by its public handle."""
        raise NotImplementedError

    @classmethod
    def guests_among(cls, guests: Collection[str]) -> set[str]:
        """Which of these guests' owner IDs a valid session holds."""
        raise NotImplementedError

    @classmethod
    def revoke(cls, handle: str) -> bool:
        """End a session from outside. Whether there was one."""
        session = cls()
        return session._run(session._revoking(handle))

    @classmethod
    async def arevoke(cls, handle: str) -> bool:
        """See revoke()."""
        session = cls()
        return await session._arun(session._revoking(handle))
