"""A visitor of the chat page: one browser profile with one tab or several."""

from __future__ import annotations

import re

PATIENCE = 20_000  # ms


class Visitor:
    """``tab`` is a Playwright page; the methods act in it unless they are given another one."""

    def __init__(self, context, address: str) -> None:
        self.address = address
        self.complaints: list[str] = []
        #: A pattern of the complaints that a test provokes.
        self.expected = "(?!)"
        self.context = context
        self.context.set_default_timeout(PATIENCE)
        self.tab = self.open("/chat/")

    def open(self, path: str):
        """A new tab."""
        tab = self.context.new_page()
        tab.on("console", lambda message: self._heard(message.type, message.text))
        tab.on("pageerror", lambda error: self._heard("error", str(error)))
        tab.goto(self.address + path)
        return tab

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not re.search(self.expected, text):
            self.complaints.append(text)

    def send(self, text: str, tab=None) -> None:
        tab = tab or self.tab
        tab.wait_for_selector("body[data-ready]", state="attached")
        tab.fill("#text", text)
        tab.press("#text", "Enter")

    def say(self, text: str, tab=None) -> str:
        """Send, and return the whole answer."""
        tab = tab or self.tab
        answers = tab.locator("[data-turns] [data-role=assistant]").count()
        self.send(text, tab)
        # Not its aria-busy: a short answer may be over before anybody looks.
        answered = "document.querySelectorAll('[data-turns] [data-role=assistant]').length"
        self.until(f"{answered} > {answers}", tab)
        return self.answer(tab)

    def answer(self, tab=None) -> str:
        """The last answer, once it is written."""
        tab = tab or self.tab
        tab.wait_for_selector("[data-role=assistant]")
        tab.wait_for_selector("[data-turns] [aria-busy=true]", state="detached")
        return self.texts("assistant", tab)[-1]

    def first_words(self, tab=None) -> str:
        """What the answer has when it is seen to have begun."""
        tab = tab or self.tab
        self.until("document.querySelector('[aria-busy=true] [data-body]')?.textContent.trim()", tab)
        return tab.text_content("[aria-busy=true] [data-body]").strip()

    def listen(self, tab=None) -> None:
        """Note from now on what a screen reader is told."""
        (tab or self.tab).evaluate(
            """() => {
                window.heard = [];
                const place = document.querySelector("[role=status]");
                const note = () => place.textContent && heard.push(place.textContent);
                new MutationObserver(note).observe(place, {childList: true});
            }"""
        )

    def heard(self, tab=None) -> list[str]:
        """What it was told."""
        return (tab or self.tab).evaluate("window.heard")

    def look_away(self, tab) -> None:
        """To a tab before this one, as far as this one can tell: headless, all of them are visible."""
        tab.evaluate(
            "Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})"
        )

    def look_at(self, tab) -> None:
        """At a tab again that has not been told so yet."""
        tab.evaluate("delete document.visibilityState")

    def until(self, expression: str, tab=None) -> None:
        """Wait for a JavaScript expression to be true; Playwright's own way needs ``unsafe-eval``."""
        look = f"({expression}) ? end(true) : performance.now() > late ? end(false) : setTimeout(look, 15)"
        start = f"const late = performance.now() + {PATIENCE}, look = () => {look}; look();"
        came = (tab or self.tab).evaluate(f"new Promise(end => {{ {start} }})")
        assert came, f"never came true: {expression}"

    def texts(self, role: str, tab=None) -> list[str]:
        """The texts of all questions or answers."""
        found = (tab or self.tab).locator(f"[data-turns] [data-role={role}] [data-body]")
        return [text.strip() for text in found.all_text_contents()]

    def log_in(self, tab, user: str, password: str) -> None:
        tab.goto(f"{self.address}/accounts/login/?next=/chat/")
        tab.fill("[name=username]", user)
        tab.fill("[name=password]", password)
        tab.press("[name=password]", "Enter")
        tab.wait_for_url(f"{self.address}/chat/")

    def leave(self) -> None:
        for tab in self.context.pages:
            tab.close()
        self.context.clear_cookies()
        self.context.clear_permissions()
