"""The script of the Redis store decides what ``records.merge()`` decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import hypothesis
import pytest
from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from chatsession.exceptions import SessionTooLarge
from chatsession.stores.records import (
    EXPIRY_KEY,
    GUEST_KEY,
    USER_KEY,
    Change,
    Client,
    Record,
    Stamp,
    merge,
)
from chatsession.stores.redis import SessionStore
from tests.redis_server import OnRedis, configured, needed

NAMES = st.sampled_from(["a", "日本", USER_KEY, "_auth_user_hash", EXPIRY_KEY, GUEST_KEY])
BYTES = st.binary(max_size=9)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
DATA = st.dictionaries(NAMES, BYTES)
IDS = st.none() | st.sampled_from(["7", "八"])
RECORDS = st.builds(
    Record,
    handle=st.just("handle"),
    data=DATA,
    created_at=TIMES,
    last_seen_at=TIMES,
    expires_at=TIMES,
    generation=st.integers(0, 1),
    user_id=IDS,
    login_at=st.none() | TIMES,
    guest=IDS,
)
CHANGES = st.builds(
    Change,
    put=DATA,
    drop=st.frozensets(NAMES),
    clear=st.booleans(),
    auth=st.booleans(),
    generation=st.integers(0, 1),
    expect=st.none() | st.dictionaries(NAMES, st.none() | BYTES, max_size=1),
)
STAMPS = st.builds(
    Stamp,
    seen_at=TIMES,
    expires_at=TIMES,
    user_id=IDS,
    client=st.none() | st.builds(Client, st.text(max_size=3), st.just("192.0.2.0")),
    expiry=st.none() | BYTES,
    login_at=st.none() | TIMES,
    guest=IDS,
)


def outcome(merging, *arguments):
    try:
        return merging(*arguments)
    except SessionTooLarge as error:
        return error.size


class MergeTests(OnRedis, SimpleTestCase):
    @pytest.mark.server
    def test_the_script_decides_as_python_does(self):
        """Whatever the record, the changes and their stamps."""

        @hypothesis.settings(max_examples=200, deadline=None)
        @given(RECORDS, st.lists(st.tuples(CHANGES, STAMPS, st.sampled_from([10, 30, 1000])), max_size=3))
        def holds(record, writes):
            session = SessionStore()
            session._remove("hash")
            session._insert("hash", record)
            for change, stamp, limit in writes:
                with configured(needed(), MAX_SESSION_BYTES=limit):
                    # Its version is not the one that was last seen, so that the whole record comes back.
                    overtaken = replace(record, version=0)
                    merged = outcome(session._apply, "hash", overtaken, change, stamp)
                    assert merged == outcome(merge, record, change, stamp)
                record = merged if isinstance(merged, Record) else record
                assert session._fetch("hash") == record

        holds()
