"""The chat page as the server renders it, and without script."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import AsyncClient, Client, TestCase
from django.urls.base import set_script_prefix

from chatsession.backends.base import BackendError, Source
from chatsession.conversations import history
from chatsession.models import Conversation, Message
from chatsession.testing import FakeBackend, inline_runs, send
from chatsession.views import page, transcript


class Page(HTMLParser):
    """The elements of a response, each a tag and its attributes."""

    def __init__(self, response) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(response.content.decode())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.elements if found == tag]

    def addresses(self) -> list[str]:
        return [a[n] for _, a in self.elements for n in ("href", "src", "action", "data-page") if a.get(n)]


@pytest.fixture(autouse=True)
def inline():
    with inline_runs():
        yield


@pytest.fixture
def guest(db) -> Client:
    return Client()


def models(*script: object) -> dict[str, object]:
    return {"MODELS": {"default": {"BACKEND": FakeBackend(list(script))}}}


def html_of(client: Client, conversation_id: str, query: str = "") -> str:
    response = client.get(f"/chat/{conversation_id}/{query}")
    assert response.status_code == 200
    return response.content.decode()


def test_a_visit_begins_a_session(guest):
    assert "sessionid" in guest.get("/chat/").cookies


@pytest.mark.parametrize(
    ("method", "headers"),
    [("HEAD", {}), ("GET", {"Sec-Purpose": "prefetch;prerender"}), ("GET", {"Purpose": "prefetch"})],
)
def test_what_is_no_visit_stores_nothing(guest, method, headers):
    response = guest.generic(method, "/chat/", headers=headers)
    assert response.status_code == 200
    assert "sessionid" not in response.cookies


def test_the_transcript_is_readable_without_script(guest, settings):
    settings.CHATSESSION = models("It is **bold**.")
    answer = send(guest, "<b>What</b> is it?")

    html = html_of(guest, answer.conversation_id)

    assert "&lt;b&gt;What&lt;/b&gt; is it?" in html
    assert "<p>It is <strong>bold</strong>.</p>" in html
    assert f"/chat/{answer.conversation_id}/" in html


def test_a_models_word_is_no_reason_to_link_to_a_script(guest, settings):
    settings.CHATSESSION = models("x", Source("javascript:alert(1)", "evil"), Source("https://e.com", "good"))
    answer = send(guest, "sources?")

    links = Page(guest.get(f"/chat/{answer.conversation_id}/")).all("a")

    assert [a["href"] for a in links if a.get("rel")] == ["https://e.com"]
    assert not any(a["href"].startswith("javascript") for a in links)


def test_an_error_says_what_went_wrong(guest, settings):
    settings.CHATSESSION = models("half", BackendError("The model is asleep."))
    answer = send(guest, "hello")
    html = html_of(guest, answer.conversation_id)
    assert "The model is asleep." in html
    assert 'data-status="error"' in html


def test_unknown_and_other_peoples_conversations_answer_alike(guest, settings):
    settings.CHATSESSION = models("secret")
    theirs = send(Client(), "mine").conversation_id
    guest.get("/chat/")

    unknown, other = guest.get("/chat/nosuch/"), guest.get(f"/chat/{theirs}/")

    assert unknown.status_code == other.status_code == 404
    assert unknown.content == other.content
    assert Client().get(f"/chat/{theirs}/").status_code == 404
    assert guest.get("/chat/%00/").status_code == 404


def test_a_conversation_that_another_tab_deletes_meanwhile_is_unknown(guest, settings, monkeypatch):
    settings.CHATSESSION = models("yes")
    address = f"/chat/{send(guest, 'hello').conversation_id}/"
    find = history.get_conversation

    def deleted_then(owner, public_id):
        found = find(owner, public_id)
        Conversation.objects.all().delete()
        return found

    monkeypatch.setattr(history, "get_conversation", deleted_then)

    assert guest.get(address).status_code == 404


def test_nothing_on_the_page_is_inline(guest):
    response = guest.get("/chat/")
    for tag, attributes in Page(response).elements:
        assert tag != "style"
        assert tag != "script" or attributes.keys() == {"type", "src"}
        assert not any(name == "style" or name.startswith("on") for name in attributes)
    assert "default-src 'self';" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]
    assert "no-store" in response["Cache-Control"]


def test_the_policy_lets_static_files_come_from_their_host(guest, settings):
    settings.STATIC_URL = "https://cdn.example/static/"
    assert "default-src 'self' https://cdn.example;" in guest.get("/chat/")["Content-Security-Policy"]


def test_a_policy_of_the_site_takes_the_place_of_ours(settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csp.ContentSecurityPolicyMiddleware"]
    assert not page.has_own_policy()
    settings.SECURE_CSP = {"default-src": ["'none'"]}
    assert page.has_own_policy()


def test_it_speaks_the_visitors_language_without_locale_middleware(guest, settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "Locale" not in name]
    response = guest.get("/chat/", headers={"Accept-Language": "ja"})
    assert Page(response).all("html") == [{"lang": "ja"}]
    assert "新しいチャット" in response.content.decode()
    assert "Accept-Language" in response["Vary"]


def test_the_languages_of_middleware_and_page_agree(guest, settings):
    settings.LANGUAGE_COOKIE_NAME = "lang"
    guest.cookies["lang"] = "ja"
    assert "新しいチャット" in guest.get("/chat/", headers={"Accept-Language": "en"}).content.decode()


def test_the_demo_says_that_it_is_one(guest, settings):
    assert "Demo response, not a language model" in guest.get("/chat/").content.decode()
    settings.CHATSESSION = models("x")
    assert "Demo" not in guest.get("/chat/").content.decode()


def test_it_works_below_a_path(guest):
    set_script_prefix("/site/")  # as the handlers of WSGI and ASGI do
    try:
        addresses = Page(guest.get("/chat/", SCRIPT_NAME="/site")).addresses()
    finally:
        set_script_prefix("/")
    chat = [address for address in addresses if "/chat/" in address]
    assert len(chat) >= 3
    assert all(address.startswith("/site/chat/") for address in chat)


def test_it_works_with_hashed_file_names(guest, settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
    }
    call_command("collectstatic", verbosity=0, interactive=False)

    found = [a for a in Page(guest.get("/chat/")).addresses() if a.startswith("/static/")]

    assert len(found) == 12
    for address in found:
        name = urlsplit(address).path.removeprefix("/static/")
        assert (tmp_path / name).is_file()
        assert name.count(".") == 2, "not hashed"


def test_scripts_import_nothing_by_name():
    """A name in an import statement would miss the hash of ManifestStaticFilesStorage."""
    from django.contrib.staticfiles import finders

    scripts = list(Path(finders.find("chatsession/chat.js")).parent.glob("*.js"))
    assert len(scripts) == 10
    for script in scripts:
        lines = script.read_text().splitlines()
        assert not [line for line in lines if line.startswith(("import ", "export * from"))]


def test_older_messages_are_one_click_away(guest, settings, monkeypatch):
    settings.CHATSESSION = models("yes")
    monkeypatch.setattr(transcript, "MESSAGES", 2)
    first = send(guest, "question one").conversation_id
    send(guest, "question two", conversation_id=first)

    html = html_of(guest, first)
    assert "question two" in html
    assert 'href="?shown=8"' in html
    assert '<div class="bubble" data-body dir="auto">question one</div>' not in html

    html = html_of(guest, first, "?shown=8")
    assert '<div class="bubble" data-body dir="auto">question one</div>' in html
    assert "?shown=" not in html


@pytest.mark.parametrize("shown", ["x", "-1", "99999999999", "²", ""])
def test_a_strange_number_of_messages_is_the_usual_one(guest, settings, shown):
    settings.CHATSESSION = models("yes")
    assert "yes" in html_of(guest, send(guest, "hi").conversation_id, f"?shown={shown}")


def form(client: Client, **fields):
    return client.post("/chat/", {"text": "hello", "message_id": "m1", **fields})


def test_without_script_a_form_sends(guest, settings):
    settings.CHATSESSION = models("good day")

    response = form(guest)

    conversation = Conversation.objects.get()
    assert response.url == f"/chat/{conversation.public_id}/"
    assert "good day" in guest.get(response.url).content.decode()


def test_the_form_goes_on_with_a_conversation(guest, settings):
    settings.CHATSESSION = models("yes")
    address = form(guest).url
    assert guest.post(address, {"text": "again", "message_id": "m2"}).url == address
    assert Message.objects.count() == 4


def test_a_form_sent_twice_is_one_message(guest, settings):
    settings.CHATSESSION = models("yes")
    address = form(guest).url
    for _ in range(2):
        guest.post(address, {"text": "twice", "message_id": "m2"})
    assert Message.objects.filter(role="user").count() == 2


def test_the_first_form_sent_twice_is_one_conversation(guest, settings):
    settings.CHATSESSION = models("yes")
    fields = {
        a["name"]: a["value"] for a in Page(guest.get("/chat/")).all("input") if a.get("type") == "hidden"
    }
    first, second = (form(guest, **fields).url for _ in range(2))
    assert first == second
    assert (Conversation.objects.count(), Message.objects.count()) == (1, 2)


def test_without_script_a_lost_conversation_keeps_the_text_for_a_new_one(guest, settings):
    settings.CHATSESSION = models("yes")
    address = form(guest).url

    response = Client().post(address, {"text": "a draft", "message_id": "m2"})  # its session has ended

    assert response.status_code == 404
    assert "This conversation is no longer here" in response.content.decode()
    assert "a draft</textarea>" in response.content.decode()
    assert "/chat/" in [a.get("action") for a in Page(response).all("form")]
    assert Conversation.objects.count() == 1


def test_a_suggestion_is_sent_in_place_of_the_text(guest, settings):
    settings.CHATSESSION = models("yes")
    form(guest, text="", suggestion="/help")
    assert Conversation.objects.get().title == "/help"


def shown_turns(client: Client, address: str) -> list[str]:
    """The IDs of the turns on the page, a version's place behind its ID."""
    page = Page(client.get(address))
    places = iter(a["aria-label"] for a in page.all("div") if "data-versions" in a)
    turns = [a["data-id"] for a in page.all("article") if a["data-id"]]
    return [*turns, *places]


def versions(client: Client, address: str) -> list[dict[str, str]]:
    return [a for a in Page(client.get(address)).all("button") if a.get("name") == "show"]


def test_another_answer_is_a_version_beside_the_first(guest, settings):
    settings.CHATSESSION = models("yes")
    address = form(guest).url
    question, first = shown_turns(guest, address)

    assert guest.post(address, {"again": first, "text": ""}).url == address

    shown, second, place = shown_turns(guest, address)
    assert (shown, place) == (question, "Version 2 of 2")
    assert second != first
    previous, following = versions(guest, address)
    assert (previous["value"], following["value"]) == (first, "")
    assert "disabled" in following
    assert "disabled" not in previous


def test_without_script_a_button_shows_another_version_and_what_followed_it(guest, settings):
    settings.CHATSESSION = models("yes")
    address = form(guest).url
    question, first = shown_turns(guest, address)
    guest.post(address, {"text": "go on", "message_id": "m2"})
    before = shown_turns(guest, address)
    guest.post(address, {"again": first})

    response = guest.post(f"{address}?shown=100", {"show": first})

    assert response.url == f"{address}?shown=100"
    assert shown_turns(guest, address) == [*before, "Version 1 of 2"]
    assert before[:2] == [question, first]


def test_an_edited_question_is_a_version_too(guest, settings):
    settings.CHATSESSION = models("yes")
    address = form(guest).url
    conversation_id = address.split("/")[2]
    before = shown_turns(guest, address)
    guest.post(address, {"text": "goodbye", "message_id": "m1"})

    assert shown_turns(guest, address)[2:] == ["Version 2 of 2"]
    assert '<div class="bubble" data-body dir="auto">goodbye</div>' in html_of(guest, conversation_id)
    previous = versions(guest, address)[0]["value"]
    assert previous == before[0]
    leaf = {"leaf": previous}
    guest.patch(f"/chat/api/conversations/{conversation_id}", leaf, content_type="application/json")
    assert shown_turns(guest, address) == [*before, "Version 1 of 2"]


@pytest.mark.parametrize("address", ["", "/chat/", "/chat/nosuch/"])
def test_a_version_that_is_not_there_is_not_found(guest, settings, address):
    settings.CHATSESSION = models("yes")
    mine = form(guest).url
    theirs = shown_turns(other := Client(), form(other).url)[1]
    assert guest.post(address or mine, {"show": "nosuch"}).status_code == 404
    assert guest.post(address or mine, {"show": theirs}).status_code == 404


def test_another_answer_to_nothing_is_refused(guest, settings):
    settings.CHATSESSION = models("yes")
    address = form(guest).url
    response = guest.post(address, {"again": "nosuch", "text": "a draft"})
    assert response.status_code == 404
    assert "a draft</textarea>" in response.content.decode()


def test_a_refusal_keeps_what_was_typed(guest, settings):
    settings.CHATSESSION = {"MAX_MESSAGE_CHARS": 5}
    response = form(guest, text="too long a text")
    html = response.content.decode()
    assert response.status_code == 413
    assert "too long a text</textarea>" in html
    assert "at most 5 are allowed" in html
    assert not Message.objects.exists()


def test_the_form_is_protected(db):
    assert form(Client(enforce_csrf_checks=True)).status_code == 403


def test_while_an_answer_is_written_the_page_without_script_looks_again(guest, settings):
    settings.CHATSESSION = models("yes")
    conversation_id = send(guest, "hi").conversation_id
    assert "http-equiv" not in html_of(guest, conversation_id)

    answer = Message.objects.get(role="assistant")
    Message.objects.update(status="streaming", lease=service_lease())
    Conversation.objects.update(active_run=answer.run_id)

    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in html_of(guest, conversation_id)


def service_lease() -> str:
    from chatsession.runs.engine import engine

    return engine.lease


def test_who_may_not_chat_is_asked_to_log_in(guest, settings):
    settings.CHATSESSION = {"PERMISSIONS": {"chat": "staff"}}
    assert guest.get("/chat/").url == "/accounts/login/?next=/chat/"
    guest.force_login(User.objects.create_user("plain"))
    assert guest.get("/chat/").status_code == 403
    guest.force_login(User.objects.create_user("boss", is_staff=True))
    assert guest.get("/chat/").status_code == 200


@pytest.fixture
def claimed(guest, settings) -> Client:
    settings.CHATSESSION = models("yes")
    send(guest, "as a guest")
    guest.force_login(User.objects.create_user("hanako"))
    return guest


def test_after_a_login_the_page_tells_what_it_claimed(claimed):
    html = claimed.get("/chat/").content.decode()
    assert "1 conversation you began before logging in is now in your account." in html
    assert "as a guest" in html


def test_the_claim_can_be_kept(claimed):
    assert claimed.post("/chat/unclaim", {"keep": ""}).url == "/chat/"
    html = claimed.get("/chat/").content.decode()
    assert "before logging in" not in html
    assert "as a guest" in html


def test_the_claim_can_be_undone(claimed):
    claimed.post("/chat/unclaim")
    html = claimed.get("/chat/").content.decode()
    assert "before logging in" not in html
    assert "as a guest" not in html
    assert not history.conversations_of(f"user:{User.objects.get().pk}").exists()


def test_blocks_can_be_replaced(guest, settings, tmp_path):
    (tmp_path / "chatsession").mkdir()
    (tmp_path / "chatsession" / "page.html").write_text(
        '{% extends "chatsession/page.html" %}{% block footer %}Our rules{% endblock %}'
    )
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    html = guest.get("/chat/").content.decode()
    assert "Our rules" in html
    assert "Shift+Enter" not in html


def test_it_needs_no_installed_auth_app():
    program = """
from django.conf import settings
settings.configure(INSTALLED_APPS=["chatsession"], ROOT_URLCONF="chatsession.urls")
import django; django.setup()
import chatsession.urls
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_it_works_without_the_auth_app_in_the_request(guest, settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "auth" not in name]
    assert guest.get("/chat/").status_code == 200


class UnderASGITests(TestCase):
    async def test_the_page_and_the_form(self) -> None:
        client = AsyncClient()
        assert (await client.get("/chat/")).status_code == 200
        response = await client.post("/chat/", {"text": "hello", "message_id": "m1"})
        page = await client.get(response.url)
        assert "hello" in page.content.decode()


@pytest.mark.parametrize("address", ["/chat/", "/chat/c1/", "/chat/api/conversations"])
def test_without_a_session_middleware_it_says_what_is_missing(settings, address):
    settings.MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
    with pytest.raises(ImproperlyConfigured, match="needs a session middleware"):
        Client().get(address)
