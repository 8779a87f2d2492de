"""Find the section of the package's own documentation that answers a question (BM25)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).parent / "docs"
QUERY_CHARS = 300
# Robertson's usual constants.
K1, B = 1.2, 0.75
TITLE_WEIGHT = 3
#: How much of the question's weight the best section must hold; below it the answer is "I don't know".
COVERAGE = {"en": 0.5, "ja": 0.4}

_STOP_WORDS = """
a about an and any are as at be by can could do does for from get give has have how i if in is it its let
me my not of on or please show so tell that the their them there they this to use used using want was we
what when where which who why will with would you your chatsession
"""
_STOP = frozenset(_STOP_WORDS.split())
_WORDS = re.compile(r"[a-z0-9_]+|[぀-ヿ㐀-鿿々ー]+")
_HIRAGANA = re.compile(r"[぀-ゟ]+")


@dataclass(frozen=True)
class Section:
    """One section of the documentation; ``body`` is Markdown."""

    anchor: str
    title: str
    body: str


def find(question: str, language: str) -> Section | None:
    """The section that answers ``question`` best, None if none does well enough."""
    return _index(language).best(question[:QUERY_CHARS])


@cache
def _index(language: str) -> Index:
    return Index(list(_sections((DOCS / f"{language}.md").read_text(encoding="utf-8"))), COVERAGE[language])


def _sections(markdown: str) -> Iterator[Section]:
    """Sections look like ``## Title {#anchor}``."""
    for match in re.finditer(r"^## (.+?) \{#([\w-]+)\}\n+(.+?)(?=\n## |\Z)", markdown, re.M | re.S):
        yield Section(match[2], match[1], match[3].strip())


class Index:
    """BM25 over a handful of sections."""

    def __init__(self, sections: list[Section], coverage: float) -> None:
        self.sections = sections
        self.coverage = coverage
        self.counts = [
            Counter([*terms(section.body), *list(terms(section.title)) * TITLE_WEIGHT])
            for section in sections
        ]
        self.mean = sum(count.total() for count in self.counts) / len(sections)
        self.found_in = Counter(term for count in self.counts for term in count)

    def best(self, question: str) -> Section | None:
        """The best section, if it holds enough of the question."""
        wanted = set(terms(question))
        if not wanted:
            return None
        position = max(range(len(self.sections)), key=lambda i: self._score(wanted, self.counts[i]))
        held = sum(self._idf(term) for term in wanted if term in self.counts[position])
        enough = held >= self.coverage * sum(map(self._idf, wanted))
        return self.sections[position] if enough else None

    def _score(self, wanted: set[str], count: Counter[str]) -> float:
        norm = K1 * (1 - B + B * count.total() / self.mean)
        return sum(self._idf(term) * count[term] * (K1 + 1) / (count[term] + norm) for term in wanted)

    def _idf(self, term: str) -> float:
        n = self.found_in[term]
        return math.log(1 + (len(self.sections) - n + 0.5) / (n + 0.5))


def terms(text: str) -> Iterator[str]:
    """English words without their endings; Japanese as pairs of neighbouring characters."""
    for word in _WORDS.findall(text.lower()):
        if word[0].isascii():
            if word not in _STOP:
                yield _stem(word)
        else:
            yield from _bigrams(word)


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ers", "ed", "es", "er", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def _bigrams(run: str) -> Iterator[str]:
    """Pairs of hiragana only are grammar ("です", "ます") and are left out."""
    for first, second in pairwise(run):
        if not _HIRAGANA.fullmatch(first + second):
            yield first + second
