"""Answers written again, questions edited, and the way between the versions."""

from __future__ import annotations


def place(visitor, role: str) -> str:
    return visitor.tab.inner_text(f"[data-turns] [data-role={role}] [data-place]")


def test_the_arrows_lead_between_answers_and_what_followed_them(visitor):
    visitor.say("/echo 一")
    visitor.say("/echo 二")
    visitor.tab.hover("[data-role=assistant]")

    visitor.tab.click("text=再生成 >> nth=0")
    visitor.until("document.querySelector('[data-place]')")

    assert visitor.texts("assistant") == ["一"]
    assert place(visitor, "assistant") == "2/2"
    visitor.tab.press("[aria-label=前のバージョン]", "Enter")
    visitor.until("document.querySelector('[data-place]').textContent == '1/2'")
    assert visitor.texts("assistant") == ["一", "二"]
    assert visitor.tab.evaluate("document.activeElement.ariaLabel") == "次のバージョン"
    assert visitor.tab.text_content("[role=status]") == "2 件中 1 件目のバージョン"
    visitor.tab.reload()
    assert visitor.texts("assistant") == ["一", "二"]
    visitor.tab.press("[aria-label=次のバージョン]", "Enter")
    visitor.until("document.querySelector('[data-place]').textContent == '2/2'")
    assert visitor.texts("assistant") == ["一"]


def test_a_question_is_edited_in_its_place(visitor):
    visitor.say("/echo 一")
    visitor.tab.press("[data-edit]", "Enter")
    visitor.tab.keyboard.type("のこと")
    visitor.tab.keyboard.press("Escape")
    assert visitor.texts("user") == ["/echo 一"]
    assert visitor.tab.evaluate("'edit' in document.activeElement.dataset")

    visitor.tab.keyboard.press("Enter")
    assert visitor.tab.input_value(".editor textarea") == "/echo 一"
    visitor.tab.keyboard.type("と")
    visitor.tab.keyboard.press("Shift+Enter")
    visitor.tab.keyboard.type("二")
    visitor.tab.keyboard.press("Enter")

    visitor.until("document.querySelector('[data-place]')")
    assert visitor.texts("user") == ["/echo 一と\n二"]
    assert visitor.texts("assistant") == ["一と\n二"]
    assert place(visitor, "user") == "2/2"
    visitor.tab.click("[aria-label=前のバージョン]")
    visitor.until("document.querySelector('[data-place]').textContent == '1/2'")
    assert visitor.texts("user") == ["/echo 一"]
    assert visitor.texts("assistant") == ["一"]

    # A version that is there already is shown, not stored once more.
    visitor.tab.click("[data-edit]")
    visitor.tab.fill(".editor textarea", "/echo 一と\n二")
    visitor.tab.click("[data-save]")
    visitor.until("document.querySelector('[data-place]')?.textContent == '2/2'")
    assert visitor.texts("assistant") == ["一と\n二"]


def test_an_edit_that_is_refused_stays_open(visitor):
    visitor.expected = "413"
    visitor.say("/echo 一")
    visitor.say("/echo 二")
    text = "あ" * 20_001
    visitor.tab.hover("[data-role=user]")
    visitor.tab.click("[data-edit] >> nth=0")
    visitor.tab.fill(".editor textarea", text)
    visitor.tab.press(".editor textarea", "Enter")

    visitor.until("document.querySelector('[data-alert]').textContent")

    assert visitor.tab.input_value(".editor textarea") == text
    assert visitor.texts("assistant") == ["一", "二"]


def test_a_failed_answer_says_why_and_offers_another_try(visitor):
    visitor.send("/error")
    visitor.answer()
    assert "/error" in visitor.tab.inner_text("[data-error][role=alert]")

    visitor.tab.click("text=もう一度試す")
    visitor.until("document.querySelector('[data-place]')?.textContent == '2/2'")

    assert visitor.texts("user") == ["/error"]
    assert "/error" in visitor.tab.inner_text("[data-error]")
    visitor.tab.reload()
    assert visitor.texts("user") == ["/error"]
    assert visitor.tab.is_visible("text=もう一度試す")


def test_an_answer_asked_for_again_is_asked_for_once(visitor):
    visitor.expected = "ERR_FAILED"
    visitor.say("/echo 一")

    def lose(route):
        route.fetch()  # it arrives, and only the answer is lost
        route.abort()

    visitor.tab.route("**/api/chat", lose)
    visitor.tab.click("text=再生成")
    visitor.until("document.querySelector('[data-place]')?.textContent == '2/2'")
    assert visitor.answer() == "一"
