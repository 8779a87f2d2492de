"""What the page's script does."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import PASSWORD, USER

PHONE = {"viewport": {"width": 375, "height": 700}, "has_touch": True, "is_mobile": True}


def test_markdown_is_rendered_as_it_comes_and_the_same_after_a_reload(visitor):
    visitor.say("/markdown")
    live = visitor.tab.inner_html("[data-role=assistant] [data-blocks]")
    assert "<strong>「重要」</strong>" in live
    assert visitor.tab.text_content("[data-role=assistant] [data-tail]") == ""
    visitor.tab.reload()
    assert visitor.tab.inner_html("[data-role=assistant] [data-blocks]").strip() == live.strip()


def test_an_input_methods_enter_does_not_send(visitor):
    cdp = visitor.context.new_cdp_session(visitor.tab)
    visitor.tab.focus("#text")
    cdp.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    visitor.tab.keyboard.press("Enter")
    cdp.send("Input.insertText", {"text": "日本"})
    assert "日本" in visitor.tab.input_value("#text")
    assert visitor.texts("user") == []


def test_shift_and_enter_begin_a_line(visitor):
    visitor.tab.fill("#text", "/echo 一")
    height = visitor.tab.locator("#text").bounding_box()["height"]
    visitor.tab.press("#text", "Shift+Enter")
    visitor.tab.keyboard.type("二")
    assert visitor.tab.input_value("#text") == "/echo 一\n二"
    assert visitor.tab.locator("#text").bounding_box()["height"] > height
    visitor.tab.press("#text", "Enter")
    assert visitor.answer() == "一\n二"


def test_drafts_are_kept_per_conversation(visitor):
    visitor.say("/echo 一")
    address = visitor.tab.url
    visitor.tab.fill("#text", "書きかけ")
    visitor.tab.goto(f"{visitor.address}/chat/")
    assert visitor.tab.input_value("#text") == ""
    visitor.tab.goto(address)
    assert visitor.tab.input_value("#text") == "書きかけ"


def test_escape_stops(visitor):
    visitor.send("/stall")
    visitor.first_words()
    visitor.tab.keyboard.press("Escape")
    visitor.answer()
    assert visitor.tab.inner_text("[data-note]") == "停止しました。"


def test_focus_stays_in_the_message_box(visitor):
    visitor.tab.fill("#text", "/echo 一")
    visitor.tab.click("[data-send]")
    visitor.answer()
    assert visitor.tab.evaluate("document.activeElement.id") == "text"


def test_a_screen_reader_hears_of_the_answer_once(visitor):
    visitor.send("/slow 20")
    visitor.first_words()
    assert visitor.tab.text_content("[role=status]") == "返答を生成中です。"
    answer = visitor.answer()
    visitor.until("document.querySelector('[role=status]').textContent.startsWith('返答が完了')")
    assert visitor.tab.text_content("[role=status]") == f"返答が完了しました。\n{answer}"


def test_a_refusal_puts_the_text_back(visitor):
    visitor.expected = "413"
    text = "あ" * 20_001
    visitor.send(text)
    visitor.until("document.querySelector('[data-alert]').textContent")
    assert visitor.tab.input_value("#text") == text
    assert "20001" in visitor.tab.inner_text("[data-alert]")
    assert visitor.texts("user") == []


def test_a_lost_request_is_sent_again_and_counts_once(visitor):
    visitor.expected = "ERR_FAILED|ERR_CONNECTION"
    lost: list[str] = []

    def lose(route):
        if len(lost) < 2:
            lost.append(route.request.post_data_json["message"]["id"])
            if len(lost) == 2:
                route.fetch()  # it arrives, and only the answer is lost
            return route.abort()
        return route.continue_()

    visitor.tab.route("**/api/chat", lose)
    assert visitor.say("/echo 一度だけ") == "一度だけ"
    visitor.tab.reload()
    assert lost[0] == lost[1]
    assert visitor.texts("user") == ["/echo 一度だけ"]
    assert visitor.texts("assistant") == ["一度だけ"]


def test_a_stream_that_breaks_off_is_taken_up_again(visitor):
    visitor.expected = "ERR_FAILED"
    lost: list[str] = []

    def cut(route):
        response = route.fetch()
        route.fulfill(response=response, body=response.body()[: len(response.body()) // 2])

    def lose(route):
        lost.append(visitor.tab.inner_text("[data-note]"))
        return route.abort() if len(lost) == 1 else route.continue_()

    visitor.tab.route("**/api/chat", cut)
    visitor.tab.route("**/stream", lose)
    visitor.listen()
    assert visitor.say("/slow 5").endswith("開いたりしてみてください。")
    assert visitor.texts("user") == ["/slow 5"]
    assert lost == ["接続が切れました。再接続しています…"] * 2
    assert visitor.heard()[:2] == ["返答を生成中です。", lost[0]]
    assert visitor.tab.text_content("[data-note]") == ""


def test_a_server_that_is_away_keeps_the_text(visitor):
    visitor.expected = "ERR_FAILED"
    visitor.tab.clock.install()
    visitor.tab.route("**/api/chat", lambda route: route.abort())
    visitor.send("まだある")
    for _ in range(8):
        visitor.tab.clock.fast_forward(10_000)
        visitor.tab.wait_for_timeout(100)
    assert visitor.tab.input_value("#text") == "まだある"
    assert "サーバーに接続できません" in visitor.tab.inner_text("[data-alert]")


def test_conversations_are_renamed_and_deleted(visitor):
    visitor.say("/echo 一")
    visitor.tab.wait_for_selector(".conversation")
    visitor.tab.hover(".conversation")
    visitor.tab.click("[data-rename-button]")
    visitor.tab.fill("#rename-text", "新しい名前")
    visitor.tab.click("[data-rename] .primary")
    visitor.until("document.querySelector('h1').textContent == '新しい名前'")

    visitor.tab.hover(".conversation")
    visitor.tab.click("[data-delete-button]")
    visitor.tab.click("[data-delete] [value=cancel]")
    assert visitor.tab.locator(".conversation").count() == 1
    visitor.tab.click("[data-delete-button]")
    assert "新しい名前" in visitor.tab.inner_text("[data-delete]")
    visitor.tab.click("[data-delete] .danger")
    visitor.tab.wait_for_url(f"{visitor.address}/chat/")
    assert visitor.tab.locator(".conversation").count() == 0


def test_all_data_is_downloaded_and_deleted_by_keyboard(visitor):
    assert not visitor.tab.is_visible(".data")
    visitor.say("/echo 一")
    visitor.tab.wait_for_selector(".data")
    visitor.tab.press(".data > summary", "Enter")
    with visitor.tab.expect_download() as download:
        visitor.tab.press(".data > a", "Enter")
    assert "/echo 一" in download.value.path().read_text()

    visitor.tab.press(".data details > summary", "Enter")
    visitor.tab.press(".data details > summary", "Tab")
    assert "元に戻せません" in visitor.tab.inner_text(".data form")
    visitor.tab.keyboard.press("Enter")

    visitor.tab.wait_for_selector("[data-welcome]")
    assert visitor.tab.locator(".conversation").count() == 0
    assert not visitor.tab.is_visible(".data")


def test_a_long_list_of_conversations_is_shown_on_request(visitor):
    visitor.say("/echo 一")
    created = """async () => {
        const csrf = document.cookie.match(/csrftoken=([^;]+)/)[1];
        const headers = {"X-CSRFToken": csrf, "Content-Type": "application/json"};
        for (let n = 1; n <= 51; n++) {
            const body = JSON.stringify({title: `会話 ${n}`});
            await fetch("/chat/api/conversations", {method: "POST", headers, body});
        }
    }"""
    visitor.tab.evaluate(created)
    visitor.tab.reload()
    assert visitor.tab.locator(".conversation").count() == 50
    visitor.tab.click("[data-more-conversations]")
    visitor.until("document.querySelectorAll('.conversation').length == 52")
    visitor.tab.wait_for_selector("[data-more-conversations]", state="hidden")
    assert visitor.tab.locator(".conversation a").last.get_attribute("href") == visitor.tab.evaluate(
        "location.pathname"
    )


def test_answers_and_code_are_copied(visitor):
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.say("/code")
    visitor.tab.click("[data-copy-code]")
    visitor.tab.wait_for_selector("text=コピーしました")
    assert visitor.tab.evaluate("navigator.clipboard.readText()").startswith("from django.http import")
    visitor.tab.click("[data-copy]")
    visitor.until("document.querySelector('[data-copy]').textContent.includes('コピーしました')")
    assert visitor.tab.evaluate("navigator.clipboard.readText()").startswith("訪問回数を")


def test_a_logout_in_the_other_tab_hides_the_conversation_and_keeps_the_text(visitor):
    visitor.expected = "404"
    other = visitor.open("/chat/")
    visitor.log_in(other, USER, PASSWORD)
    visitor.tab.goto(f"{visitor.address}/chat/")
    visitor.say("/echo 秘密")
    visitor.tab.fill("#text", "書きかけ")
    other.click("text=ログアウト")
    other.wait_for_url(f"{visitor.address}/chat/")

    visitor.tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    visitor.tab.wait_for_selector("[data-welcome]")
    assert "秘密" not in visitor.tab.content()
    assert visitor.tab.input_value("#text") == "書きかけ"


@pytest.mark.parametrize("way", ["send", "edit"])
def test_a_session_that_has_ended_is_told_and_the_text_goes_to_a_new_chat(visitor, way):
    visitor.expected = "404"
    visitor.say("/echo 一")
    address = visitor.tab.url
    visitor.context.clear_cookies(name="sessionid")

    if way == "send":
        visitor.send("/echo 二")
        box = "#text"
    else:
        visitor.tab.click("[data-edit]")
        box = ".editor textarea"
        visitor.tab.fill(box, "/echo 二")
        visitor.tab.press(box, "Enter")
    visitor.tab.wait_for_selector("[data-alert] a")

    assert "セッションが終わったか" in visitor.tab.inner_text("[data-alert]")
    assert visitor.tab.input_value(box) == "/echo 二"
    assert visitor.texts("user") == ["/echo 一"]
    visitor.tab.click("[data-alert] a")
    visitor.tab.wait_for_selector("[data-welcome]")
    assert visitor.tab.input_value("#text") == "/echo 二"
    assert visitor.tab.locator(".conversation").count() == 0
    visitor.tab.press("#text", "Enter")
    assert visitor.answer() == "二"
    assert visitor.tab.url != address


def test_enter_while_an_answer_is_written_keeps_the_text_and_says_so(visitor):
    visitor.send("/stall")
    visitor.first_words()
    visitor.send("次の質問")
    assert visitor.tab.input_value("#text") == "次の質問"
    assert "まだ返答を書いています" in visitor.tab.inner_text("[data-hint]")
    visitor.tab.click("[data-stop]")
    visitor.answer()
    assert visitor.tab.text_content("[data-hint]") == ""
    assert visitor.texts("user") == ["/stall"]


def test_the_view_follows_only_a_reader_at_the_end(visitor):
    visitor.say("/long 3000")
    visitor.until("!document.querySelector('[data-newest]').checkVisibility()")
    visitor.tab.evaluate("document.querySelector('[data-transcript]').scrollTop = 0")
    visitor.tab.wait_for_selector("[data-newest]")
    visitor.tab.click("[data-newest]")
    visitor.tab.wait_for_selector("[data-newest]", state="hidden")


def test_a_phone_has_a_drawer_and_scrolls_one_way(site, visit):
    visitor = visit(site, **PHONE)
    visitor.say("/markdown")
    visitor.say("/code")
    assert visitor.tab.evaluate("document.documentElement.scrollWidth") == 375
    assert not visitor.tab.is_visible(".conversation a")
    visitor.tab.tap("[data-drawer-open]")
    visitor.tab.wait_for_selector(".conversation a")
    assert visitor.tab.evaluate("document.getElementById('main').inert")
    visitor.tab.keyboard.press("Escape")
    visitor.tab.wait_for_selector(".conversation a", state="hidden")


@pytest.mark.parametrize("context", [{}, PHONE], ids=["desktop", "phone"])
def test_everything_to_press_is_large_enough(site, visit, context):
    visitor = visit(site, **context)
    visitor.say("/error")
    if context:
        visitor.tab.tap("[data-drawer-open]")
    small = visitor.tab.evaluate(
        """[...document.querySelectorAll('button, summary, .new-chat, .conversation a, textarea')]
            .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 44)
            .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert small == []


def test_it_speaks_english_too(site, visit):
    visitor = visit(site, locale="en-GB")
    assert "Hanako" in visitor.say("My name is Hanako.")
    assert not re.search("[ぁ-んァ-ヶ一-龠]", visitor.tab.inner_text("body"))


def test_no_english_is_left_on_the_japanese_page(visitor):
    visible = visitor.tab.inner_text("body").replace("/markdown", "").replace("/code", "")
    assert set(re.findall("[A-Za-z]{3,}", visible)) == {"Enter", "Shift"}
    hidden = visitor.tab.evaluate(
        """[...document.querySelectorAll('[aria-label], [title]')]
            .flatMap(e => [e.ariaLabel, e.title]).concat(Object.entries(document.body.dataset)
            .filter(([name]) => name.startsWith('text')).map(([, text]) => text)).join(' ')"""
    )
    assert re.findall("[A-Za-z]{3,}", hidden) == []


def test_without_script_the_chat_goes_on(site, visit):
    visitor = visit(site, java_script_enabled=False)
    assert "Shift" not in visitor.tab.inner_text("body")
    visitor.tab.fill("#text", "/slow 20")
    visitor.tab.click("[data-send]")
    visitor.tab.wait_for_url(re.compile("/chat/.+/"))
    visitor.tab.wait_for_selector("text=開いたりしてみてください。")  # the page has looked again
    visitor.tab.fill("#text", "/echo 次")
    visitor.tab.click("[data-send]")
    visitor.tab.wait_for_selector("text=次")
    assert visitor.texts("user") == ["/slow 20", "/echo 次"]
