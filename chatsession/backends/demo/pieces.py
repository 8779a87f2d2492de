"""Cut a text into the small pieces a model would send, never inside a character people see as one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import cycle

ZERO_WIDTH_JOINER = "\u200d"
# Grapheme_Extend characters that are not of a mark category: half-width (semi-)voiced marks (UAX #29).
HALF_WIDTH_MARKS = "\uff9e\uff9f"
WORD_LIMIT = 24


def well_formed(text: str) -> str:
    """``text`` with surrogates paired or replaced, so that it can be encoded as UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def graphemes(text: str) -> Iterator[str]:
    """The characters as people see them: a close subset of the rules of UAX #29, on the cautious side."""
    cluster = ""
    for char in text:
        if cluster and not _joins(cluster, char):
            yield cluster
            cluster = ""
        cluster += char
    if cluster:
        yield cluster


def _joins(cluster: str, char: str) -> bool:
    if char.isascii():
        return cluster == "\r" and char == "\n"
    if _extends(char) or cluster[-1] == ZERO_WIDTH_JOINER:
        return True
    return _is_flag_half(char) and len(cluster) == 1 and _is_flag_half(cluster)


def _extends(char: str) -> bool:
    return (
        unicodedata.category(char) in ("Mn", "Me", "Mc")
        or char == ZERO_WIDTH_JOINER
        or char in HALF_WIDTH_MARKS
        or "\U0001f3fb" <= char <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= char <= "\U000e007f"  # tags of subdivision flags
        or "\u1160" <= char <= "\u11ff"  # Hangul vowels and finals
    )


def _is_flag_half(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def pieces(text: str) -> Iterator[str]:
    """Words with the space behind them; wide (CJK) text in pieces of one to three characters."""
    sizes = cycle((2, 1, 3, 2))
    limit, piece, count = 0, "", 0
    for grapheme in graphemes(text):
        wide = _is_wide(grapheme)
        if piece and (count >= limit or _starts_piece(piece, grapheme, wide)):
            yield piece
            piece, count = "", 0
        if not piece:
            limit = next(sizes) if wide else WORD_LIMIT
        piece += grapheme
        count += 1
    if piece:
        yield piece


def _starts_piece(piece: str, grapheme: str, wide: bool) -> bool:
    return wide != _is_wide(piece) or (piece[-1].isspace() and not grapheme.isspace())


def _is_wide(text: str) -> bool:
    return unicodedata.east_asian_width(text[0]) in ("W", "F")


def count_tokens(text: str) -> int:
    """A quick count of words and wide characters, for the usage of the input."""
    return len(re.findall(r"[A-Za-z0-9_]+|[^\sA-Za-z0-9_]", text))
