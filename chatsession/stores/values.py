"""The values of one session as a request sees them: decoded on access, compared as bytes at the end."""

from __future__ import annotations

import logging
import marshal
from collections.abc import Iterator, MutableMapping
from typing import Any

from chatsession.exceptions import ValueNotSerializable
from chatsession.stores.records import AUTH_PREFIX, USER_KEY, Change, Record

logger = logging.getLogger("chatsession.sessions")

_ENCODED: Any = object()


class Values(MutableMapping[str, Any]):
    """A mapping over a record's encoded values that knows what was changed, nested changes included."""

    def __init__(self, serializer: type[Any], record: Record | None = None, *, cleared: bool = False) -> None:
        self.record = record
        self.cleared = cleared
        #: Whether this request logs somebody in, be it who was logged in before.
        self.login = False
        self._serializer = serializer()
        # What this request has seen of each key; the record moves on under it, this does not.
        self._seen: dict[str, bytes] = {} if cleared or record is None else dict(record.data)
        self._data: dict[str, Any] = dict.fromkeys(self._seen, _ENCODED)
        #: The values as they were decoded: what is still so need not be encoded to be compared.
        self._prints: dict[str, bytes] = {}

    def __getitem__(self, key: str) -> Any:
        # As with one JSON document for the whole session, a key that is no string becomes one.
        key = str(key)
        if key not in self:
            raise KeyError(key)
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._data[str(key)] = value
        self.login = self.login or key == USER_KEY

    def __delitem__(self, key: str) -> None:
        del self._data[str(key)]

    def __contains__(self, key: object) -> bool:
        key = str(key)
        return key in self._data and (self._data[key] is not _ENCODED or self._decode(key))

    def __iter__(self) -> Iterator[str]:
        return (key for key in tuple(self._data) if key in self)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return repr(dict(self))

    def _decode(self, key: str) -> bool:
        try:
            value = self._data[key] = self._serializer.loads(self._seen[key])
        except Exception:
            # Written by another SESSION_SERIALIZER. It stays in the store until something replaces it.
            logger.warning("The session value of %r cannot be decoded.", key)
            del self._data[key], self._seen[key]
            return False
        if (found := fingerprint(value)) is not None:
            self._prints[key] = found
        return True

    def encode(self, key: str, value: Any) -> bytes:
        """The bytes that are stored for a value. Raises ``ValueNotSerializable``."""
        try:
            encoded: bytes = self._serializer.dumps(value)
        except Exception as error:
            raise ValueNotSerializable(key) from error
        return encoded

    def decode(self, encoded: bytes) -> Any:
        return self._serializer.loads(encoded)

    def _encoded(self, key: str) -> bytes:
        value = self._data[key]
        return self._seen[key] if value is _ENCODED else self.encode(key, value)

    def encoded(self) -> dict[str, bytes]:
        """Every key with its bytes."""
        return {key: self._encoded(key) for key in self._data}

    def written(self) -> dict[str, bytes]:
        """The keys this request has set or altered."""
        live = (key for key, value in self._data.items() if not self._is_as_loaded(key, value))
        encoded = {key: self._encoded(key) for key in live}
        return {key: value for key, value in encoded.items() if value != self._seen.get(key)}

    def _is_as_loaded(self, key: str, value: Any) -> bool:
        return value is _ENCODED or (key in self._prints and self._prints[key] == fingerprint(value))

    def changes(self) -> Change:
        """What has to be written so that the store agrees with this request."""
        put, drop = self.written(), self._seen.keys() - self._data.keys()
        auth = any(key.startswith(AUTH_PREFIX) for key in (*put, *drop))
        if auth:
            put |= {key: self._encoded(key) for key in self._data if key.startswith(AUTH_PREFIX)}
        generation = self.record.generation if self.record else 0
        return Change(put, frozenset(drop), self.cleared, auth, generation)

    def rebase(self, record: Record, change: Change) -> None:
        """Go on from the record that ``change`` has made.

        Values this request holds stay its own objects, compared with the bytes it has last seen or
        written; the others are those of the record. What is still unwritten stays so.
        """
        unwritten = self._seen.keys() - self._data.keys()
        live = {key: value for key, value in self._data.items() if value is not _ENCODED}
        known = {key: change.put.get(key, self._seen.get(key)) for key in live}
        seen = {**record.data, **known}
        self._seen = {key: value for key, value in seen.items() if value is not None}
        self._data = {key: _ENCODED for key in record.data if key not in unwritten} | live
        self._prints = {key: self._prints[key] for key in self._prints.keys() - change.put.keys()}
        self.record, self.cleared = record, False

    def forget(self, key: str) -> None:
        """Let go of one value: after the next ``rebase()`` it is the record's."""
        self._data.pop(key, None)
        self._seen.pop(key, None)


def fingerprint(value: Any) -> bytes | None:
    """Bytes that differ if the value does, at a tenth of what JSON takes; None if there is more in it than
    plain data. They may differ for an equal value too: it depends on who refers to its parts."""
    try:
        return marshal.dumps(value)
    except ValueError:
        return None
