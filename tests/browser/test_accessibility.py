"""What axe-core finds on the page: nothing."""

from __future__ import annotations

import os
import re

import pytest

from tests.test_clients import FOLDER

AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
LOOKS = [("light", 1200), ("dark", 375)]


@pytest.fixture(scope="module")
def axe():
    if not AXE.is_file():
        reason = f"no axe-core: npm ci --prefix {FOLDER}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return AXE.read_text()


def violations(visitor) -> list[str]:
    found = []
    for scheme, width in LOOKS:
        visitor.tab.emulate_media(color_scheme=scheme)
        visitor.tab.set_viewport_size({"width": width, "height": 700})
        for violation in visitor.tab.evaluate("axe.run()")["violations"]:
            found += [f"{scheme} {width} {violation['id']}: {node['html']}" for node in violation["nodes"]]
    return found


def test_the_page_is_accessible(visitor, axe):
    visitor.tab.evaluate(axe)
    assert violations(visitor) == []

    visitor.say("/markdown")
    visitor.tab.click("text=再生成")
    visitor.tab.wait_for_selector("[data-place]")
    visitor.say("/code")
    visitor.say("/error")
    visitor.tab.click("[data-edit] >> nth=-1")
    assert violations(visitor) == []


def test_the_demos_login_is_accessible_and_speaks_the_browsers_language(visitor, axe):
    visitor.tab.goto(f"{visitor.address}/accounts/login/?next=/chat/")
    visitor.tab.fill("[name=username]", "123")
    visitor.tab.fill("[name=password]", "wrong")
    visitor.tab.press("[name=password]", "Enter")
    visitor.tab.wait_for_selector(".errorlist")

    assert re.findall("[A-Za-z]{3,}", visitor.tab.inner_text("body")) == []
    visitor.tab.evaluate(axe)
    assert violations(visitor) == []
