"""What a visitor has told of themselves: found by a few patterns, one sentence at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Nobody tells their name behind this many characters, and patterns must not walk through a pasted book.
READ_CHARS = 500

_I = r"(?:私|わたし|わたくし|僕|ぼく|俺|自分)"
_DESU = r"(?:です(?:よ|ね)?|だよ|だ|である|でございます|と(?:申し|もうし|言い|いい)ます|という|っていいます)"

#: (key, pattern of one sentence with the group "value" and maybe "key"), the more special first.
_STATEMENTS: list[tuple[str, re.Pattern[str]]] = [
    ("name", re.compile(r"\bmy name(?: is|'s) (?P<value>.+)", re.I)),
    ("name", re.compile(r"\b(?:please |you can |just )?call me (?P<value>.+)", re.I)),
    ("home", re.compile(r"\bI live in (?P<value>.+)", re.I)),
    ("likes", re.compile(r"\bI (?:really )?(?:like|love) (?P<value>.+)", re.I)),
    ("", re.compile(r"\bmy (?P<key>[\w' -]{2,40}?)(?: is|'s) (?P<value>.+)", re.I)),
    ("self", re.compile(r"^(?:hi|hello|hey)?[, ]*\bI(?:'m| am) (?P<value>(?:an? )?[\w' -]+)$", re.I)),
    ("name", re.compile(rf"^(?:{_I}の)?お?名前は(?P<value>.+?){_DESU}?$")),
    ("home", re.compile(rf"^(?:{_I}は)?(?P<value>.+?)に住んで(?:い|お)?(?:ます|る|り?ます)")),
    ("", re.compile(rf"^(?:{_I}の|{_I}が)?(?P<key>(?:一番)?好きな.{{1,20}}?)は(?P<value>.+?){_DESU}?$")),
    ("likes", re.compile(rf"^(?:{_I}は)?(?P<value>[^は]+?)が(?:大|とても)?好き(?:です|だ)?")),
    ("", re.compile(rf"^{_I}の(?P<key>.{{1,20}}?)は(?P<value>.+?){_DESU}?$")),
    ("name", re.compile(rf"^(?:{_I}は)?(?P<value>[^は]+?)と(?:申し|もうし|言い|いい)ます")),
    ("self", re.compile(rf"^{_I}は(?P<value>[^、がをにで]+?)(?:です(?:よ|ね)?|だよ|だ)$")),
]

_QUESTIONS: list[tuple[str, re.Pattern[str]]] = [
    ("home", re.compile(r"\bwhere do I live\b", re.I)),
    ("likes", re.compile(r"\bwhat do I (?:like|love)\b", re.I)),
    ("name", re.compile(r"\bwho (?:am I|I am)\b|\bwhat am I called\b", re.I)),
    ("", re.compile(r"\bwhat(?:'s| is| was)? my (?P<key>[\w' -]{2,40})", re.I)),
    ("", re.compile(r"\b(?:remember|know|recall|tell me) my (?P<key>[\w' -]{2,40})", re.I)),
    ("home", re.compile(rf"^(?:{_I}は)?どこに住んで")),
    ("likes", re.compile(rf"^(?:{_I}は)?何が好き|^{_I}の?好きなものは")),
    ("name", re.compile(rf"^{_I}[はが](?:誰|だれ)|^(?:{_I}の)?お?名前(?:[はを、わ分覚知]|って|$)")),
    ("", re.compile(rf"^(?:{_I}の|{_I}が)?(?P<key>(?:一番)?好きな.{{1,20}}?)(?:は|って|を[覚知教言])")),
    ("", re.compile(rf"^{_I}の(?P<key>.{{1,20}}?)(?:は|って|を[覚知教言])")),
]

# Clauses that tell of another thing, and words before the first one.
_CLAUSES = re.compile(r",?\s+(?:and|but)\s+(?=(?:I|my|you|what|who|where)\b)|(?<=[^\W\d_])[でが]、", re.I)
_OPENING = re.compile(
    r"^(?:こんにち[はわ]|こんばん[はわ]|おはよう(?:ございます)?|はじめまして|初めまして|どうも|実は|ちなみに|ところで"
    r"|では|じゃあ|それで|あと|なお)[、,，！!\s　]+(?=.)"
)
_SENTENCE = re.compile(r"[^.。．!！?？\n]+(?:[.](?=\w)[^.。．!！?？\n]+)*[.。．!！?？]*")
_ASKING = re.compile(
    r"[?？]\s*$|(?:ですか|ますか|でしたか|ましたか|だっけ|でしたっけ|ますっけ|かな|[たる]か|覚えて(?:る|います|ます)"
    r"|(?:教えて|言って|答えて)(?:ください|下さい|くれ)?)"
    r"[。.]?\s*$|^\s*(?:what|who|where|when|which|do you|can you|tell me|remind me)\b",
    re.I,
)
_EARLIER = re.compile(
    r"\bwhat (?:did|have) I (?:just )?(?:say|said|ask|asked|tell|told|write|written)\b"
    r"|(?:何|なん)(?:て|と|を)?(?:言|い|聞|書|話)(?:い|き|し)?(?:った|いた|たか|ました|た)",
    re.I,
)
_FIRST = re.compile(r"\bfirst\b|最初|初め|はじめ|1 ?ターン目|一番前", re.I)


@dataclass(frozen=True)
class Fact:
    """``key`` is "name", "home", "likes", "self" or the visitor's own word; ``turn`` counts from 1."""

    key: str
    value: str
    turn: int
    sentence: str


def facts(text: str, turn: int) -> Iterator[Fact]:
    """The facts stated in one message."""
    for sentence in _sentences(text):
        if not _ASKING.search(sentence):
            yield from _stated(_bare(sentence), turn)


def _stated(sentence: str, turn: int) -> Iterator[Fact]:
    for key, pattern in _STATEMENTS:
        if match := pattern.search(sentence):
            value = re.split("[,、]", match["value"])[0] if key == "name" else match["value"]
            value = value.strip(" 　「」\"'“”*`、,")
            if value and len(value) <= 60:
                yield Fact(key or _normal(match["key"]), value, turn, sentence)
            return


def asked(text: str) -> str | None:
    """The key of the fact a message asks for."""
    for sentence in _sentences(text):
        if _ASKING.search(sentence) or _bare(sentence) in ("私の名前", "名前", "my name"):
            for key, pattern in _QUESTIONS:
                if match := pattern.search(_bare(sentence)):
                    return key or _normal(match["key"])
    return None


def asks_what_was_said(text: str) -> str | None:
    """ "first" or "last" if a message asks what the visitor said earlier."""
    if not _EARLIER.search(text[:READ_CHARS]):
        return None
    return "first" if _FIRST.search(text[:READ_CHARS]) else "last"


def recall(told: list[Fact], key: str) -> Fact | None:
    """The newest fact under ``key``; a name may also have been told as "I am X"."""
    keys = ("name", "self") if key == "name" else (key,)
    for wanted in keys:
        for fact in reversed(told):
            if fact.key == wanted:
                return fact
    return None


def _sentences(text: str) -> list[str]:
    return [
        found.strip() for found in _SENTENCE.findall(_CLAUSES.sub("\n", text[:READ_CHARS])) if found.strip()
    ]


def _bare(sentence: str) -> str:
    return _OPENING.sub("", sentence.strip(" 　.。．!！?？").replace("’", "'"))


def _normal(key: str) -> str:
    key = key.lower().strip().replace("favorite", "favourite").replace("color", "colour")
    return {"名前": "name", "お名前": "name", "住所": "home", "home": "home"}.get(
        key, key.removeprefix("一番")
    )
