from __future__ import annotations

from chatsession.stores.records import USER_ID_CHARS, user_id_text


def test_a_key_that_fits_is_stored_as_it_is():
    assert user_id_text(7) == "7"
    assert user_id_text("x" * (USER_ID_CHARS - 1)) == "x" * (USER_ID_CHARS - 1)


def test_long_keys_of_one_beginning_stay_apart():
    one, two = (user_id_text("x" * 80 + end) for end in "ab")

    assert one != two
    assert {len(one), len(two)} == {USER_ID_CHARS}


def test_no_key_can_pose_as_another_ones_digest():
    digest = user_id_text("x" * 80)

    assert user_id_text(digest) != digest
