from __future__ import annotations

from django.test import override_settings

from chatsession.checks.settings import EXPECTED, KEYS
from chatsession.conf import DEFAULT_MODELS, DEFAULT_PERMISSIONS, conf


def client_ip(request):
    return "203.0.113.1"


def test_every_setting_is_optional_and_its_default_passes_its_check(settings):
    settings.CHATSESSION = {}
    for name in KEYS:
        is_right, _what = EXPECTED[name]
        assert is_right(getattr(conf, name)), name


def test_values_are_read_at_access():
    with override_settings(CHATSESSION={"MAX_SESSIONS": 5}):
        assert conf.MAX_SESSIONS == 5
    assert conf.MAX_SESSIONS == 100_000


def test_models_given_take_the_place_of_the_default():
    with override_settings(CHATSESSION={}):
        assert conf.MODELS == DEFAULT_MODELS
    with override_settings(CHATSESSION={"MODELS": {"default": {"BACKEND": "a.b"}}}):
        assert conf.MODELS == {"default": {"BACKEND": "a.b"}}


def test_permissions_given_are_laid_over_the_defaults():
    with override_settings(CHATSESSION={"PERMISSIONS": {"other": "staff"}}):
        assert conf.PERMISSIONS == {**DEFAULT_PERMISSIONS, "other": "staff"}


def test_functions_may_be_given_as_they_are_or_by_path():
    for value in (client_ip, "tests.test_conf.client_ip"):
        with override_settings(CHATSESSION={"CLIENT_IP": value}):
            assert conf.CLIENT_IP(None) == "203.0.113.1"
    assert conf.CLIENT_IP is None
