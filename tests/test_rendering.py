from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatsession import rendering
from chatsession.rendering import render, settled

FRAGMENTS = [
    *("a", "b c", "**太字**", "「引用」", "。", "**「", "」**", "`", "```", "~~~", "```python", "print(1)"),
    *(
        "\n",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        " ",
        "    ",
        "\t",
        "- ",
        "* ",
        "1. ",
        "2) ",
        "> ",
        "# ",
        "#",
        "---",
    ),
    *(
        "===",
        "|",
        "a | b",
        "--|--",
        "| - |",
        "[x]",
        "[x]: http://e.com",
        "<div>",
        "&amp;",
        "\\",
        "![i](u)",
        "\x00",
    ),
]
MARKDOWN = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def in_pieces(text: str, cuts: list[int]) -> str:
    html, start = [], 0
    for end in sorted(cut % (len(text) + 1) for cut in cuts):
        blocks, start = settled(text[:end], start) if end >= start else ([], start)
        html += blocks
    return "".join(html + settled(text, start, final=True)[0])


@pytest.mark.parametrize(
    ("text", "bold"),
    [
        ("**「重要」**です", "「重要」"),
        ("**注意：**です", "注意："),
        ("これは**「重要」**です", "「重要」"),
        ("次の**（注）**を", "（注）"),
        ("**“重要”**的", "“重要”"),
        ("**중요(重要)**입니다", "중요(重要)"),
        ("plain **bold** text", "bold"),
    ],
)
def test_bold_works_beside_wide_characters(text: str, bold: str) -> None:
    assert f"<strong>{bold}</strong>" in render(text)


@pytest.mark.parametrize("text", ["2 ** 3 ** 4", "あ ** い ** う", "snake_case_name", "** 「あ」 **"])
def test_what_is_not_bold_stays(text: str) -> None:
    assert render(text) == f"<p>{text}</p>\n"


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](JaVa&#115;cript:alert(1))",
        "[x](vbscript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "![x](data:image/png;base64,AAAA)",
        "![x](https://tracker.example/pixel.png)",
        "![x](javascript:alert(1))",
        "<javascript:alert(1)>",
        '[x](https://e.com "a\\" onmouseover=\\"alert(1)")',
        '```"><script>alert(1)</script>\nx\n```',
        "```html\n<script>alert(1)</script>\n```",
        "| a |\n|---|\n| <b style=x>c</b> |",
        '<div style="position:fixed">',
        "<style>*{display:none}</style>",
        "<form action=/x><input>",
    ],
)
def test_nothing_in_an_answer_runs_loads_or_covers_the_page(text: str) -> None:
    for tag, attributes in Elements(render(text)).found:
        assert tag not in {"script", "img", "svg", "style", "form", "input", "iframe", "object", "b"}
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert re.match(r"https?:", attributes.get("href") or "https:")


def test_the_sanitiser_alone_holds() -> None:
    dirty = '<p class="page-header" onclick="x()">a<script>b</script></p><span class="hl-k sr">c</span>'
    assert rendering._cleaner.clean(dirty) == '<p>a</p><span class="hl-k sr">c</span>'


def test_links_open_outside_and_tell_nothing() -> None:
    ((_, _), (tag, attributes)) = Elements(render("[x](https://e.com)")).found
    assert tag == "a"
    assert attributes == {
        "href": "https://e.com",
        "target": "_blank",
        "rel": "noopener noreferrer nofollow",
    }


def test_pictures_become_links() -> None:
    assert '<a href="https://e.com/a.png"' in render("![A cat](https://e.com/a.png)")
    assert ">A cat</a>" in render("![A cat](https://e.com/a.png)")


def test_code_is_coloured_by_classes() -> None:
    html = render("```python\nprint('<b>')\n```")
    assert '<pre data-lang="python" tabindex="0">' in html
    assert '<span class="hl-nb">print</span>' in html
    assert "&lt;b&gt;" in html


def test_code_in_an_unknown_language_or_of_great_length_is_plain() -> None:
    assert "<code>a &lt; b\n</code>" in render("```nosuch\na < b\n```")
    assert "<span" not in render("```python\n" + "x = 1\n" * 5000 + "```")


def test_tables_headings_and_line_breaks() -> None:
    html = render("# T\n\na\nb\n\n| x | y |\n|---|--:|\n| 1 | 2 |\n")
    assert "<h3>T</h3>" in html
    assert "a<br>\nb" in html
    assert '<td class="hl-right">2</td>' in html


@pytest.mark.parametrize(
    ("text", "blocks", "rest"),
    [
        ("a para", 0, "a para"),
        ("a para\n", 0, "a para\n"),
        ("a para\n\n", 1, ""),
        ("a para\n\nnext", 1, "next"),
        ("# head\n", 1, ""),
        ("# head", 0, "# head"),
        ("para\n#", 0, "para\n#"),
        ("para\n# h\n", 2, ""),
        ("```\na\n\nb\n\n", 0, "```\na\n\nb\n\n"),
        ("```\na\n```\n\n", 1, ""),
        ("- a\n- b\n\n", 0, "- a\n- b\n\n"),
        ("- a\n\nNext", 1, "Next"),
        ("- a\n\n-", 0, "- a\n\n-"),
        ("> a\n\n", 1, ""),
        ("|a|\n|-|\n|1|\n\n", 1, ""),
        ("para\n  ", 0, "para\n  "),
        ("para\r\n\r", 0, "para\r\n\r"),
    ],
)
def test_a_block_is_settled_once_nothing_can_change_it(text: str, blocks: int, rest: str) -> None:
    html, start = settled(text, 0)
    assert (len(html), text[start:]) == (blocks, rest)


def test_the_end_settles_everything() -> None:
    html, start = settled("para\n\n```\nopen", 0, final=True)
    assert (len(html), start) == (2, 14)


@settings(deadline=None)
@given(MARKDOWN, st.lists(st.integers(0, 10_000), max_size=30))
@example("para\n#hash", [6])
@example("- a\n\n\n    code", [6])
@example("a\r\rb", [2])
@example("- a\r\naa", [6])
@example("# |a\n--|--", [5])
def test_however_a_text_arrives_its_blocks_are_those_of_the_whole(text: str, cuts: list[int]) -> None:
    whole = rendering._cleaner.clean(rendering._markdown.render(text))
    assert render(text) == whole
    assert in_pieces(text, cuts) == whole


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_renders(text: str) -> None:
    assert all(tag not in {"script", "img"} for tag, _ in Elements(render(text)).found)


@pytest.mark.parametrize(
    "text", ["- item\n" * 2000, "```python\n" + "x = 1\n" * 2000, "a para\n" * 2000, "> q\n" * 2000]
)
def test_a_long_open_block_is_not_parsed_again_at_every_token(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parsed(*_: object) -> None:
        raise AssertionError("parsed without need")

    monkeypatch.setattr(rendering._markdown.block, "parse", parsed)
    assert settled(text, 0) == ([], 0)
