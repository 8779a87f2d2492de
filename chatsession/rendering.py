"""Markdown to safe HTML, block by block: the one renderer and sanitiser of page, admin and export."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.common.utils import isWhiteSpace
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline.state_inline import Scanned, StateInline
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

#: Longer code, in code points, stays without colours: some lexers are slower than linear.
MAX_COLOURED = 20_000
#: Prefix of the colours' CSS classes; the sanitiser lets no other class through.
CLASS_PREFIX = "hl-"
#: The page's own headings come first: a "#" of the answer becomes <h3>.
HEADING_SHIFT = 2

LINE_END = re.compile(r"\r\n?|\n")
# What a block must hold, after its first character, before it can possibly be settled: a search that
# keeps a long list or listing from being parsed again at every token.
POSSIBLE_END = {
    "#": LINE_END,
    "_": LINE_END,
    "`": re.compile(r"[\r\n] {0,3}```"),
    "~": re.compile(r"[\r\n] {0,3}~~~"),
    ">": re.compile(r"[\r\n][^>]"),
    "|": re.compile(r"[\r\n][^|]"),
    "-": re.compile(r"[\r\n](?![ \t]|[-+*] |\d+[.)] )."),
}
PARAGRAPH_END = re.compile(r"[\r\n][ \t]*[\r\n#`~>*+\-_=|:\d]")
# The first character of a line that goes on a list even after a blank line, or may turn out to.
GOES_ON = frozenset(" \t-+*0123456789")


def render(text: str) -> SafeString:
    """Return the whole Markdown ``text`` as sanitised HTML."""
    return mark_safe("".join(settled(text, 0, final=True)[0]))  # noqa: S308 - sanitised by _html


def settled(text: str, start: int, *, final: bool = False) -> tuple[list[str], int]:
    """Render the blocks of ``text`` from ``start`` on that no later text can change.

    ``start`` is 0 or what an earlier call with a prefix of the same text returned: a position in code
    points. Returns the HTML of every settled top-level block and the position behind the last of them.
    With ``final`` nothing more is to come and the rest is settled too. However the text is cut into
    calls, the blocks are those of one ``render``.
    """
    rest = text[start:]
    if not final and not _may_settle(rest):
        return [], start
    ends = _line_ends(rest, final=final)
    if not ends:
        return [], start
    starts = _block_starts(rest, ends, final=final)
    cuts = [0, *(ends[line - 1] for line in starts[1:])]
    blocks = [_html(rest[a:b]) for a, b in pairwise(cuts)]
    return blocks, start + cuts[-1]


def _may_settle(rest: str) -> bool:
    first = rest.lstrip()[:1]
    possible = POSSIBLE_END.get("-" if first in GOES_ON else first, PARAGRAPH_END)
    return possible.search(rest) is not None


def _line_ends(rest: str, *, final: bool) -> list[int]:
    """Positions behind each complete line; a last "\\r" may still become "\\r\\n"."""
    ends = [match.end() for match in LINE_END.finditer(rest)]
    if final:
        return ends if ends and ends[-1] == len(rest) else [*ends, len(rest)]
    if ends and rest.endswith("\r"):
        ends.pop()
    return ends


def _block_starts(rest: str, ends: list[int], *, final: bool) -> list[int]:
    """The first line of every settled block, and of what comes behind them."""
    tokens = _markdown.block.parse(LINE_END.sub("\n", rest[: ends[-1]]), _markdown, {}, []) or []
    tops = [token for token in tokens if token.level == 0 and token.map]
    starts = [token.map[0] for token in tops if token.map]
    if starts:
        starts[0] = 0  # blank lines belong to the block behind them
        if final or _is_closed(tops[-1], rest, ends):
            starts.append(len(ends))
    return starts


def _is_closed(last: Token, rest: str, ends: list[int]) -> bool:
    """Whether ``last``, the last block of the complete lines, ends with them."""
    line = rest[ends[-2] if len(ends) > 1 else 0 : ends[-1]].strip(" \t\r\n")
    if last.type in {"hr", "heading_open"} and "|" not in line:  # "|": perhaps the head of a table
        return True
    if line:
        return False
    if last.type in {"bullet_list_open", "ordered_list_open", "code_block"}:
        following = rest[ends[-1] :][:1]
        return bool(following) and following not in GOES_ON
    return last.map is not None and last.map[1] < len(ends)


def _html(block: str) -> str:
    return _cleaner.clean(_markdown.render(block))


class _Delimiters(StateInline):
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:
        """Let ``**`` open and close next to Chinese, Japanese and Korean.

        CommonMark takes 「」：。 for punctuation that keeps the bold of ``**「重要」**です`` open (its issue
        650). Where a wide character is a neighbour, only white space decides.
        """
        found = super().scanDelims(start, canSplitWord)
        before = self.src[start - 1] if start else " "
        end = start + found.length
        after = self.src[end] if end < self.posMax else " "
        if not canSplitWord or not (_is_wide(before) or _is_wide(after)):
            return found
        return Scanned(not isWhiteSpace(ord(after)), not isWhiteSpace(ord(before)), found.length)


class _Inline(ParserInline):
    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        state = _Delimiters(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in {"W", "F", "H"}


def _code(code: str, language: str, _attributes: str) -> str:
    """Return a fenced listing, coloured by CSS classes."""
    return f'<pre data-lang="{escape(language)}"><code>{_coloured(code, language)}</code></pre>'


def _coloured(code: str, language: str) -> str:
    if not language or len(code) > MAX_COLOURED:
        return escape(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return escape(code)
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True, classprefix=CLASS_PREFIX)))


def _image(self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType) -> str:
    """Return a link: to load a picture from elsewhere would tell that server who reads."""
    token = tokens[at]
    name = self.renderInlineAsText(token.children, options, env) or str(token.attrs["src"])
    return f'<a href="{escape(token.attrs["src"])}">{escape(name)}</a>'


def _heading(self: RendererHTML, tokens: Sequence[Token], at: int, *_: Any) -> str:
    token = tokens[at]
    level = min(int(token.tag[1]) + HEADING_SHIFT, 6)
    return f"</h{level}>\n" if token.nesting < 0 else f"<h{level}>"


def _cell(self: RendererHTML, tokens: Sequence[Token], at: int, *_: Any) -> str:
    """Return a table cell whose alignment is a class: inline style is against the page's policy."""
    align = str(tokens[at].attrs.get("style", "")).removeprefix("text-align:")
    tag = tokens[at].tag
    if tokens[at].nesting < 0:
        return f"</{tag}>\n"
    return f'<{tag} class="{CLASS_PREFIX}{align}">' if align else f"<{tag}>"


def _table(self: RendererHTML, tokens: Sequence[Token], at: int, *_: Any) -> str:
    return "</table></div>\n" if tokens[at].nesting < 0 else f'<div class="{CLASS_PREFIX}table"><table>'


def _own_classes(_tag: str, attribute: str, value: str) -> str | None:
    return value if attribute != "class" or value.startswith(CLASS_PREFIX) else None


def _make_markdown() -> MarkdownIt:
    md = MarkdownIt("js-default", {"html": False, "linkify": False, "breaks": True, "highlight": _code})
    md.inline = _Inline()
    # A definition further down would change links that are settled.
    md.disable("reference")
    md.add_render_rule("image", _image)
    for name, rule in {"heading": _heading, "th": _cell, "td": _cell, "table": _table}.items():
        md.add_render_rule(f"{name}_open", rule)
        md.add_render_rule(f"{name}_close", rule)
    return md


_markdown = _make_markdown()
_cleaner = nh3.Cleaner(
    tags={
        *("p", "br", "hr", "h3", "h4", "h5", "h6", "strong", "em", "s", "a", "blockquote", "ul", "ol", "li"),
        *("pre", "code", "span", "div", "table", "thead", "tbody", "tr", "th", "td"),
    },
    attributes={
        "a": {"href", "title"},
        "ol": {"start"},
        "pre": {"data-lang"},
        **{tag: {"class"} for tag in ("span", "div", "th", "td")},
    },
    attribute_filter=_own_classes,
    set_tag_attribute_values={"a": {"target": "_blank"}, "pre": {"tabindex": "0"}},
    link_rel="noopener noreferrer nofollow",
    url_schemes={"http", "https", "mailto"},
)
