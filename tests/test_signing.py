from __future__ import annotations

import hashlib
import string

import pytest
from django.test import override_settings
from django.utils import timezone
from itsdangerous import BadSignature, TimestampSigner

from chatsession import signing

KEY = "0123456789abcdefghijklmnopqrstuv"


def test_a_token_gives_the_key_and_the_time_back():
    signature = signing.unsign(signing.sign(KEY))
    assert (signature.session_key, signature.current) == (KEY, True)
    assert abs(signature.signed_at.timestamp() - timezone.now().timestamp()) < 5


def test_a_token_is_short_and_fits_a_cookie_as_it_is():
    assert len(signing.sign(KEY)) == 83
    assert set('"\\,; ').isdisjoint(signing.sign(KEY))


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", KEY, f"{KEY}.a.b", "a" * 5000, "日本語", "\udc80", "\0", f"1${'0' * 64}", "é.é.é"],
)
def test_what_is_no_token_is_a_bad_signature(token):
    with pytest.raises(BadSignature):
        signing.unsign(token)


def test_every_character_counts():
    token = signing.sign(KEY)
    changed = {token[:n] + other + token[n + 1 :] for n in range(83) for other in "Aa0-_.!"}
    for other in changed - {token}:
        with pytest.raises(BadSignature):
            signing.unsign(other)


def test_only_one_spelling_of_a_signature_is_a_token():
    token = signing.sign(KEY)
    letters = string.ascii_letters + string.digits + "-_"
    for other in (token + "=", *(token[:-1] + letter for letter in letters.replace(token[-1], ""))):
        with pytest.raises(BadSignature):
            signing.unsign(other)


def test_a_genuine_signature_of_something_else_is_refused():
    for payload in ("short", '{"sid": 1}', KEY.upper(), KEY + KEY):
        with pytest.raises(BadSignature):
            signing.unsign(signing._current().sign(payload).decode())


def test_a_token_of_another_cookie_is_refused():
    with override_settings(SESSION_COOKIE_NAME="other"):
        token = signing.sign(KEY)
    with pytest.raises(BadSignature):
        signing.unsign(token)


def test_a_token_made_elsewhere_with_the_same_secret_is_refused(settings):
    token = TimestampSigner(settings.SECRET_KEY, digest_method=hashlib.sha256).sign(KEY).decode()
    with pytest.raises(BadSignature):
        signing.unsign(token)


def test_keys_rotate_newest_first():
    tokens = {}
    for name in ("oldest", "older", "new", "foreign"):
        with override_settings(SECRET_KEY=name):
            tokens[name] = signing.sign(KEY)
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["older", "oldest"]):
        assert signing.unsign(signing.sign(KEY)).current
        current = {name: signing.unsign(tokens[name]).current for name in ("oldest", "older", "new")}
        assert current == {"oldest": False, "older": False, "new": True}
        with pytest.raises(BadSignature):
            signing.unsign(tokens["foreign"])
    with override_settings(SECRET_KEY="new"), pytest.raises(BadSignature):
        signing.unsign(tokens["older"])


def test_one_signer_is_kept():
    assert signing._current() is signing._current()


def test_the_hash_at_rest_is_sha256_with_a_version():
    assert signing.hash_key(KEY) == "1$" + hashlib.sha256(KEY.encode()).hexdigest()
    assert signing.is_hash(signing.hash_key(KEY))
    assert not signing.is_hash(KEY)
