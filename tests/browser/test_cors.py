"""A front end on another origin chats from Chromium, with the visitor's cookies."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from importlib.util import find_spec

import pytest

from chatsession.testing.chat import frames_of, parts_of
from tests.processes import free_port, serving
from tests.servers import migrate, serve

CHAT = """
async ([site, text]) => {
  const options = {credentials: "include"};
  const page = await (await fetch(`${site}/chat/`, options)).text();
  const token = /name="csrfmiddlewaretoken" value="(\\w+)"/.exec(page)[1];
  const message = {id: crypto.randomUUID(), role: "user", parts: [{type: "text", text}]};
  const answer = await fetch(`${site}/chat/api/chat`, {
    ...options,
    method: "POST",
    headers: {"Content-Type": "application/json", "X-CSRFToken": token},
    body: JSON.stringify({id: crypto.randomUUID(), message}),
  });
  const list = await (await fetch(`${site}/chat/api/conversations`, options)).json();
  return [await answer.text(), list.conversations.length];
}
"""


@pytest.fixture(scope="module")
def origins(tmp_path_factory):
    """The site, the front end it has listed, and another one."""
    if not find_spec("corsheaders"):
        (pytest.fail if "CI" in os.environ else pytest.skip)("not installed: django-cors-headers")
    folder = tmp_path_factory.mktemp("front")
    (folder / "index.html").write_text("<title>A front end</title>")
    database_url = f"sqlite:///{folder}/db.sqlite3"
    listed, stranger = ports = [free_port(), free_port()]
    settings = {
        "DJANGO_SETTINGS_MODULE": "tests.thirdparty.settings",
        "TEST_FRONT_END": f"http://127.0.0.1:{listed}",
    }
    migrate(database_url, **settings)
    with ExitStack() as stack:
        for port in ports:
            command = [sys.executable, "-m", "http.server", str(port), "--bind=127.0.0.1"]
            stack.enter_context(serving(command, port, cwd=folder))
        site = stack.enter_context(serve("uvicorn", database_url, **settings))
        yield [f"http://127.0.0.1:{port}" for port in (site, listed, stranger)]


@pytest.fixture
def tab(chromium):
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_a_listed_origin_chats_with_credentials(tab, origins):
    site, listed, _ = origins
    tab.goto(listed)
    answer, conversations = tab.evaluate(CHAT, [site, "/echo Hello from afar"])
    parts = parts_of(frames_of(answer.encode()))
    assert [part["text"] for part in parts] == ["Hello from afar"]
    assert conversations == 1


def test_an_unlisted_origin_gets_nothing(tab, origins):
    site, _, stranger = origins
    tab.goto(stranger)
    with pytest.raises(Exception, match="Failed to fetch"):
        tab.evaluate(CHAT, [site, "/echo Hello"])
