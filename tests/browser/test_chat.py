"""The chat as a visitor sees it, in Japanese."""

from __future__ import annotations

import re

from tests.browser.conftest import PASSWORD, USER


def test_the_third_answer_refers_to_the_first_turn(visitor):
    assert "花子" in visitor.say("私の名前は花子です。")
    visitor.say("好きな色は青です。")
    assert "花子" in visitor.say("私の名前は？")
    assert len(visitor.texts("assistant")) == 3
    assert "デモ応答（言語モデルではありません）" in visitor.tab.inner_text("main")


def test_the_first_words_show_while_the_model_writes(anywhere, visit):
    visitor = visit(anywhere)
    visitor.send("/slow 20")
    words = visitor.first_words()
    assert visitor.tab.is_visible("[data-stop]")
    whole = visitor.answer()
    assert whole.startswith(words)
    assert len(words) < len(whole)
    assert visitor.tab.is_visible("[data-send]")


def test_a_reload_in_mid_answer_shows_the_whole_answer_in_the_end(anywhere, visit):
    visitor = visit(anywhere)
    visitor.send("/slow 50")
    visitor.first_words()
    visitor.tab.wait_for_url(re.compile("/chat/[0-9a-f]{32}/"))

    visitor.tab.reload()

    visitor.first_words()
    assert visitor.answer().endswith("開いたりしてみてください。")
    assert visitor.answer().count("ご指定の間隔で") == 1
    assert visitor.texts("user") == ["/slow 50"]


def test_two_tabs_do_not_harm_each_other(visitor):
    visitor.expected = "409"
    visitor.say("私の名前は花子です。")
    other = visitor.open(visitor.tab.url.removeprefix(visitor.address))

    visitor.look_away(other)
    visitor.send("/slow 50")
    visitor.first_words()
    assert visitor.texts("user", other) == ["私の名前は花子です。"]
    visitor.look_at(other)
    visitor.send("私の名前は？", other)
    visitor.until("document.querySelector('[data-alert]').textContent", other)

    assert other.input_value("#text") == "私の名前は？"
    assert "すでに返答を書いている" in other.inner_text("[data-alert]")
    whole = visitor.answer()
    assert visitor.answer(other) == whole
    assert "花子" in visitor.say("私の名前は？", other)
    visitor.until("document.querySelectorAll('[data-turns] [data-role=user]').length == 3")
    assert visitor.answer() == visitor.answer(other)
    assert visitor.texts("user") == visitor.texts("user", other)


def test_two_new_tabs_are_two_conversations(visitor):
    other = visitor.open("/chat/")
    visitor.send("/slow 20")
    visitor.send("/echo 別の会話", other)
    assert visitor.answer(other) == "別の会話"
    assert visitor.answer().startswith("ご指定")
    assert visitor.tab.url != other.url
    other.reload()
    assert other.locator(".conversation").count() == 2


def test_a_login_keeps_the_conversation_and_a_logout_hides_it(visitor):
    visitor.expected = "404"
    visitor.say("私の名前は花子です。")
    address = visitor.tab.url

    visitor.log_in(visitor.tab, USER, PASSWORD)
    assert "アカウントに移しました" in visitor.tab.inner_text(".notice")
    visitor.tab.goto(address)
    assert "花子" in visitor.say("私の名前は？")

    visitor.tab.click("text=ログアウト")
    visitor.tab.wait_for_url(f"{visitor.address}/chat/")
    assert visitor.tab.locator(".conversation").count() == 0
    assert visitor.tab.goto(address).status == 404


def test_a_login_in_the_other_tab_loses_no_text(visitor):
    visitor.expected = "403"
    visitor.say("私の名前は花子です。")
    visitor.tab.fill("#text", "私の名前は？")

    visitor.log_in(visitor.open("/chat/"), USER, PASSWORD)

    assert visitor.tab.input_value("#text") == "私の名前は？"
    visitor.tab.press("#text", "Enter")
    visitor.until("document.querySelectorAll('[data-role=assistant]:not([aria-busy])').length == 2")
    assert "花子" in visitor.answer()
    assert visitor.texts("user")[-1] == "私の名前は？"


def test_a_stop_keeps_what_is_written(visitor):
    visitor.send("/stall")
    visitor.first_words()
    visitor.until("document.querySelector('[data-tail]').textContent.endsWith('停止してください。')")

    visitor.tab.click("[data-stop]")

    assert visitor.answer().endswith("停止してください。")
    assert visitor.tab.inner_text("[data-note]") == "停止しました。"
    visitor.tab.reload()
    assert visitor.answer().endswith("停止してください。")
    assert visitor.tab.inner_text("[data-note]") == "停止しました。"
