from __future__ import annotations

import pytest

from chatsession.devices import device_of

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox · Linux"),
        (
            f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/140.0.0.0 Mobile Safari/537.36",
            "Chrome · Android",
        ),
        (
            f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/140.0.0.0 Safari/537.36 Edg/140.0",
            "Edge · Windows",
        ),
        (
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/26.0 Safari/605.1",
            "Safari · macOS",
        ),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) {WEBKIT} CriOS/140.0", "Chrome · iPhone"),
        ("Mozilla/5.0 (PlayStation 5) Firefox/1.0", "Firefox"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("x" * 300, "x" * 30),
        ("", ""),
    ],
)
def test_browser_and_system_are_named(user_agent, device):
    assert device_of(user_agent) == device
