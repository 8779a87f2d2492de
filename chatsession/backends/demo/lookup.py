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
HEADING_WEIGHT = 3
#: How much of the question's weight the best section must hold; below it the answer is "I don't know".
COVERAGE = 0.5

_STOP_WORDS = """
a about an and any are as at be by can could do does for from get give has have how i if in is it its let
me my not of on or please show so tell that the their them there they this to use used using want was we
what when where which who why will with would you your
explain set made make
"""
_STOP = frozenset(_STOP_WORDS.split())
# Words and numbers with a letter, runs of katakana, runs of kanji; hiragana is mostly grammar.
_WORDS = re.compile(r"[0-9_]*[a-z][a-z0-9_]*|[ァ-ヺー]+|[一-鿿々]+")
_STOP_KANJI = frozenset("何使私教人方作誰")


@dataclass(frozen=True)
class Section:
    """One section of the documentation; ``body`` is Markdown."""

    anchor: str
    title: str
    #: Further words people ask with.
    keywords: str
    body: str

    @property
    def heading(self) -> str:
        """The words that weigh most."""
        return f"{self.title} {self.keywords}"


def find(question: str, language: str) -> Section | None:
    """The section that answers ``question`` best, None if none does well enough."""
    return _index(language).best(question[:QUERY_CHARS])


@cache
def _index(language: str) -> Index:
    return Index(list(_sections((DOCS / f"{language}.md").read_text(encoding="utf-8"))))


def _sections(markdown: str) -> Iterator[Section]:
    """Sections look like ``## Title {#anchor further words}``."""
    for match in re.finditer(r"^## (.+?) \{#([\w-]+)(.*?)\}\n+(.+?)(?=\n## |\Z)", markdown, re.M | re.S):
        yield Section(match[2], match[1], match[3].strip(), match[4].strip())


class Index:
    """BM25 over a handful of sections."""

    def __init__(self, sections: list[Section]) -> None:
        self.sections = sections
        self.headings = [list(terms(section.heading)) for section in sections]
        self.counts = [
            Counter([*terms(section.body), *heading * HEADING_WEIGHT])
            for section, heading in zip(sections, self.headings, strict=True)
        ]
        self.mean = sum(count.total() for count in self.counts) / len(sections)
        self.found_in = Counter(term for count in self.counts for term in count)

    def best(self, question: str) -> Section | None:
        """The best section, if it holds enough of the question and its heading a word of it."""
        wanted = set(terms(question))
        if not wanted:
            return None
        position = max(range(len(self.sections)), key=lambda i: self._score(wanted, self.counts[i]))
        held = sum(self._idf(term) for term in wanted if term in self.counts[position])
        enough = held >= COVERAGE * sum(map(self._idf, wanted)) and wanted.intersection(
            self.headings[position]
        )
        return self.sections[position] if enough else None

    def _score(self, wanted: set[str], count: Counter[str]) -> float:
        norm = K1 * (1 - B + B * count.total() / self.mean)
        return sum(self._idf(term) * count[term] * (K1 + 1) / (count[term] + norm) for term in wanted)

    def _idf(self, term: str) -> float:
        n = self.found_in[term]
        return math.log(1 + (len(self.sections) - n + 0.5) / (n + 0.5))


def terms(text: str) -> Iterator[str]:
    """English words without their endings, katakana words, and kanji in pairs of neighbours."""
    for word in _WORDS.findall(text.lower()):
        if word[0] <= "z":
            if word not in _STOP:
                yield _stem(word)
        elif word[0] <= "ー":
            yield word.rstrip("ー")
        elif len(word) > 1:
            yield from map("".join, pairwise(word))
        elif word not in _STOP_KANJI:
            yield word


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "ions", "ion", "ers", "ed", "es", "er", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
