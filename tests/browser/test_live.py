"""An answer that is being written, as other tabs, devices and those in line see it."""

from __future__ import annotations


def test_a_run_of_one_tab_shows_live_in_the_other(visitor):
    visitor.say("/echo 一")
    other = visitor.open(visitor.tab.url.removeprefix(visitor.address))

    visitor.send("/stall")
    visitor.first_words(other)
    other.click("[data-stop]")

    assert visitor.answer(other) == visitor.answer()
    assert visitor.texts("user", other) == ["/echo 一", "/stall"]


def test_what_another_device_does_shows_when_the_page_is_looked_at(visitor, visit):
    visitor.say("/echo 一")
    device = visit(visitor.address, storage_state=visitor.context.storage_state())
    device.tab.goto(visitor.tab.url)
    device.tab.click("[data-edit]")
    device.tab.keyboard.type("二")

    visitor.send("/stall")
    visitor.first_words()
    device.tab.evaluate("window.dispatchEvent(new Event('focus'))")

    device.first_words()
    assert device.tab.input_value(".editor textarea") == "/echo 一二"
    assert device.tab.evaluate("document.activeElement.name") == "text"
    visitor.tab.click("[data-stop]")
    assert device.answer() == visitor.answer()


def test_those_in_line_are_told_their_places(servers, visit):
    first, second, third = (visit(servers("one seat")) for _ in range(3))
    first.send("/stall")
    first.first_words()
    third.listen()
    second.send("/stall")
    second.until("document.querySelector('[data-turns] [data-note]')?.textContent")
    third.send("/echo 一")

    third.until("document.querySelector('[data-turns] [data-note]')?.textContent.includes('2 番目')")
    assert second.tab.inner_text("[data-note]") == "順番を待っています（1 番目）。"
    first.tab.click("[data-stop]")
    third.until("document.querySelector('[data-turns] [data-note]').textContent.includes('1 番目')")
    second.first_words()
    assert second.tab.text_content("[data-note]") == ""
    second.tab.click("[data-stop]")

    assert third.answer() == "一"
    third.until("window.heard.at(-1).startsWith('返答が完了')")
    assert [line.splitlines()[0] for line in third.heard()] == [
        "返答を生成中です。",
        "順番を待っています（2 番目）。",
        "順番を待っています（1 番目）。",
        "返答を生成中です。",
        "返答が完了しました。",
    ]
