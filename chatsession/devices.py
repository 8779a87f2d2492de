"""What a user agent says of a device, as far as it can be believed: browser and system, no versions."""

from __future__ import annotations

# The first that is found: browsers also name those they want to be taken for.
BROWSERS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "SamsungBrowser/": "Samsung Internet",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "CriOS/": "Chrome",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}
PRODUCT_CHARS = 30


def device_of(user_agent: str) -> str:
    """Such as "Firefox · Linux"; for what is no known browser its first word, "" for none."""
    browser = _first(BROWSERS, user_agent)
    if not browser:
        return " ".join(user_agent.split()[:1])[:PRODUCT_CHARS]
    return " · ".join(filter(None, [browser, _first(SYSTEMS, user_agent)]))


def _first(names: dict[str, str], user_agent: str) -> str:
    return next((name for mark, name in names.items() if mark in user_agent), "")
