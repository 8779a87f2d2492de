from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings
from django.utils.translation import gettext_lazy

from chatsession.backends.base import BackendError, get_backend
from chatsession.backends.demo import DemoBackend
from chatsession.backends.function import FunctionBackend
from chatsession.testing import FakeBackend
from tests.backends.test_function import whole


def models(**entries):
    return override_settings(CHATSESSION={"MODELS": entries})


class Slow:
    made = 0

    def __init__(self):
        # Long enough for the other threads to arrive.
        threading.Event().wait(0.05)
        type(self).made += 1

    def stream(self, prompt):
        return prompt.text


class GetBackendTests(SimpleTestCase):
    def test_without_settings_there_is_the_demo(self):
        assert isinstance(get_backend(), DemoBackend)

    @models(a={"BACKEND": "chatsession.backends.demo.DemoBackend", "OPTIONS": {"delay": 0.5}})
    def test_options_are_the_arguments_of_the_class(self):
        assert get_backend("a").delay == 0.5

    @models(a={"BACKEND": "tests.backends.test_function.whole"})
    def test_a_path_may_name_a_function(self):
        assert isinstance(get_backend("a"), FunctionBackend)
        assert get_backend("a").stream is whole

    def test_a_class_a_function_and_a_backend_may_stand_there_themselves(self):
        fake = FakeBackend([])
        with models(a={"BACKEND": DemoBackend}, b={"BACKEND": whole}, c={"BACKEND": fake}):
            assert isinstance(get_backend("a"), DemoBackend)
            assert get_backend("b").stream is whole
            assert get_backend("c") is fake

    @models(a={"BACKEND": DemoBackend}, b={"BACKEND": DemoBackend})
    def test_each_alias_has_one_backend(self):
        assert get_backend("a") is get_backend("a")
        assert get_backend("a") is not get_backend("b")

    @models(a={"BACKEND": Slow})
    def test_threads_that_come_together_make_one_backend(self):
        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(get_backend, ["a"] * 4))) == 1
        assert Slow.made == 1

    def test_other_settings_give_other_backends(self):
        with models(a={"BACKEND": DemoBackend, "OPTIONS": {"delay": 1}}):
            assert get_backend("a").delay == 1
        with models(a={"BACKEND": DemoBackend, "OPTIONS": {"delay": 2}}):
            assert get_backend("a").delay == 2

    def test_a_wrong_entry_says_which_one_it_is(self):
        wrong = {
            "path": {"BACKEND": "nowhere.Backend"},
            "attribute": {"BACKEND": "chatsession.backends.demo.Nothing"},
            "kind": {"BACKEND": 7},
            "option": {"BACKEND": DemoBackend, "OPTIONS": {"colour": "red"}},
            "function": {"BACKEND": whole, "OPTIONS": {"colour": "red"}},
            "empty": {},
        }
        for alias in [*wrong, "unknown"]:
            with self.subTest(alias), models(**wrong), self.assertRaisesRegex(ImproperlyConfigured, alias):
                get_backend(alias)


class BackendErrorTests(SimpleTestCase):
    def test_it_carries_a_text_and_a_time(self):
        error = BackendError(gettext_lazy("Yes"), retry_after=3)
        assert (str(error), error.message, error.retry_after) == ("Yes", "Yes", 3)
