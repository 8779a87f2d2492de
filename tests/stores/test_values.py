from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from chatsession.exceptions import ValueNotSerializable
from chatsession.stores.records import Change, Record, Stamp, merge, pack, unpack
from chatsession.stores.values import Values

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Json:
    """Counts what it decodes and encodes."""

    decoded = encoded = 0

    def loads(self, data):
        Json.decoded += 1
        return json.loads(data)

    def dumps(self, value):
        Json.encoded += 1
        return json.dumps(value).encode()


@pytest.fixture(autouse=True)
def counters():
    Json.decoded = Json.encoded = 0


def record(**data):
    encoded = {key: json.dumps(value).encode() for key, value in data.items()}
    return Record("handle", encoded, NOW, NOW, NOW)


def values(**data):
    return Values(Json, record(**data))


def test_only_what_is_read_is_decoded_and_nothing_is_encoded_for_it():
    session = values(small=1, large="x" * 1000)
    assert session["small"] == 1
    assert not session.changes()
    assert (Json.decoded, Json.encoded) == (1, 0)


def test_it_is_a_mapping():
    session = values(a=1, b=2)
    del session["a"]
    session["c"] = 3
    assert (dict(session), len(session), list(session)) == ({"b": 2, "c": 3}, 2, ["b", "c"])
    assert "a" not in session
    assert repr(session) == "{'b': 2, 'c': 3}"


def test_a_key_that_is_no_string_becomes_one_at_once():
    session = values()
    session[5] = "five"
    assert (session[5], session["5"], session.changes().put) == ("five", "five", {"5": b'"five"'})


def test_changes_are_bytes_that_differ():
    session = values(same=[1], nested=[1], gone=1)
    session["same"] = [1]
    session["nested"].append(2)
    session["new"] = None
    del session["gone"]
    assert session.changes() == Change({"nested": b"[1, 2]", "new": b"null"}, frozenset({"gone"}))


def test_the_auth_group_goes_together():
    session = values(_auth_user_id="1", _auth_user_hash="h", other=1)
    session["_auth_user_id"] = "2"
    change = session.changes()
    assert (change.auth, set(change.put)) == (True, {"_auth_user_id", "_auth_user_hash"})


def test_a_value_no_serializer_can_read_is_absent_and_stays_stored(caplog):
    session = Values(Json, Record("handle", {"bad": b"\x80", "good": b"1"}, NOW, NOW, NOW))
    assert dict(session) == {"good": 1}
    assert "'bad' cannot be decoded" in caplog.text
    assert not session.changes()


def test_an_unserializable_value_is_named():
    session = values()
    session["a"], session["bad"] = 1, {1, 2}
    with pytest.raises(ValueNotSerializable, match="'bad'") as raised:
        session.changes()
    assert raised.value.key == "bad"


def test_after_a_write_others_values_show_and_own_objects_stay():
    session = values(mine=[1], read=1, unread=1)
    mine, read = session["mine"], session["read"]
    mine.append(2)
    change = session.changes()
    session.rebase(record(mine=[1, 2], read=9, unread=9, new=9), change)
    assert session["mine"] is mine
    assert (read, session["read"], session["unread"], session["new"]) == (1, 1, 9, 9)
    assert not session.changes()
    mine.append(3)
    assert session.changes().put == {"mine": b"[1, 2, 3]"}


def test_what_was_written_and_then_put_back_is_a_change_again():
    session = values(mine=[1])
    session["mine"].append(2)
    session.rebase(record(mine=[1, 2]), session.changes())
    session["mine"].pop()
    assert session.changes().put == {"mine": b"[1]"}


@pytest.mark.parametrize("mine", [True, 1.0, [1], "1"])
def test_what_is_equal_but_encoded_otherwise_is_a_change(mine):
    session = values(mine=1)
    assert session["mine"] == 1
    session["mine"] = mine
    assert session.changes().put == {"mine": json.dumps(mine).encode()}


def test_a_change_inside_a_value_that_is_not_plain_data_is_seen():
    class Pickle(Json):
        def loads(self, data):
            return SimpleNamespace(**json.loads(data))

        def dumps(self, value):
            return json.dumps(vars(value)).encode()

    session = Values(Pickle, Record("handle", {"object": b'{"n": 1}'}, NOW, NOW, NOW))
    assert session["object"].n == 1
    assert not session.changes()
    session["object"].n = 2
    assert session.changes().put == {"object": b'{"n": 2}'}


def test_what_is_unwritten_stays_so():
    session = values(a=1, gone=1, n=1)
    session["a"] = 2
    del session["gone"]
    session.forget("n")
    session.rebase(record(a=1, gone=1, n=2), Change({"n": b"2"}))
    assert session["n"] == 2
    assert session.changes() == Change({"a": b"2"}, frozenset({"gone"}))


@pytest.mark.parametrize(
    "data", [{}, {"a": b""}, {"日本語\n": b"\n\n", "b": b"\x00\xff" * 9, "\ud800": b"1"}]
)
def test_a_blob_holds_any_keys_and_bytes(data):
    assert unpack(pack(data)) == data


@pytest.mark.parametrize("blob", [b"", b"gAJ9cQAu", b"{}", b"[1]\n", b"[[1, 2, 3]]\n", b"\xff\n"])
def test_a_damaged_blob_holds_nothing(blob, caplog):
    assert unpack(blob) == {}
    assert "Session data corrupted" in caplog.text


def stamp(**columns):
    return Stamp(seen_at=NOW, expires_at=NOW, **columns)


def test_merge_leaves_other_keys_alone():
    merged = merge(record(a=1, b=1, c=1), Change({"a": b"2"}, frozenset({"b"})), stamp())
    assert (merged.data, merged.version) == ({"a": b"2", "c": b"1"}, 2)


def test_merge_replaces_the_auth_group():
    change = Change({"_auth_user_id": b"2"}, auth=True)
    merged = merge(record(_auth_user_id=1, _auth_extra=1, a=1), change, stamp(user_id="2"))
    assert (merged.data, merged.user_id) == ({"_auth_user_id": b"2", "a": b"1"}, "2")


def test_merge_refuses_older_generations_and_changed_values():
    cleared = merge(record(a=1), Change({}, clear=True), stamp())
    assert (cleared.data, cleared.generation) == ({}, 1)
    assert merge(cleared, Change({"a": b"2"}), stamp()) is None
    assert merge(record(a=1), Change({"a": b"2"}, expect={"a": b"0"}), stamp()) is None
    assert merge(record(a=1), Change({"b": b"2"}, expect={"b": None}), stamp()) is not None
