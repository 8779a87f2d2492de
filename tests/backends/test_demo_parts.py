from __future__ import annotations

from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from chatsession.backends.demo import lookup
from chatsession.backends.demo.pieces import graphemes, pieces, well_formed
from chatsession.conf import conf


class LookupTests(SimpleTestCase):
    def test_questions_find_their_section(self):
        cases = {
            "en": {
                "Which settings are there?": "settings",
                "What is chatsession?": "what",
                "How can I stop an answer?": "stop",
                "What happens when I reload the page?": "resume",
                "Can I use Ollama?": "openai",
                "Where are sessions stored?": "stores",
                "Who may chat?": "permissions",
                "Which Python version do I need?": "requirements",
            },
            "ja": {
                "インストール方法は？": "installation",
                "どんな設定がありますか？": "settings",
                "chatsession とは何ですか": "what",
                "返答を止めるには？": "stop",
                "途中で再読み込みするとどうなりますか？": "resume",
                "OpenAI は使えますか？": "openai",
                "セッションはどこに保存されますか": "stores",
                "ログインするとゲストの会話はどうなりますか": "login",
            },
        }
        for language, questions in cases.items():
            for question, anchor in questions.items():
                with self.subTest(question):
                    assert lookup.find(question, language).anchor == anchor

    def test_both_languages_have_the_same_sections(self):
        english, japanese = (
            [section.anchor for section in lookup._index(language).sections] for language in ("en", "ja")
        )
        assert english == japanese
        assert len(english) == len(set(english)) >= 25

    def test_the_sections_on_settings_name_every_one(self):
        names = {name for name in vars(type(conf)) if name.isupper()}
        for language in ("en", "ja"):
            section = next(s for s in lookup._index(language).sections if s.anchor == "settings")
            assert {name for name in names if f"`{name}`" not in section.body} == set()

    def test_paragraphs_are_one_line_each(self):
        """The page shows a line break where the text has one."""
        for language in ("en", "ja"):
            for section in lookup._index(language).sections:
                prose = [
                    p
                    for p in section.body.split("\n\n")
                    if not p.startswith(("```", "1.")) and "```" not in p
                ]
                assert all("\n" not in p for p in prose if not p.startswith("    ")), section.anchor


class PieceTests(SimpleTestCase):
    def test_characters_people_see_as_one_stay_together(self):
        whole = [
            "か\u3099",
            "ｶ\uff9e",
            "👨‍👩‍👧",
            "👍🏽",
            "🇯🇵",
            "🏴\U000e0067\U000e0062\U000e007f",
            "葛\U000e0100",
            "e\u0301",
        ]
        assert list(graphemes("".join(whole))) == whole
        assert list(graphemes("🇯🇵🇫🇷\r\n")) == ["🇯🇵", "🇫🇷", "\r\n"]

    def test_japanese_comes_in_one_to_three_characters_and_english_in_words(self):
        assert {len(piece) for piece in pieces("日本語の文章は、少しずつ送られます。")} <= {1, 2, 3}
        assert list(pieces("Some words, and  more.")) == ["Some ", "words, ", "and  ", "more."]

    @given(st.text())
    def test_nothing_is_lost(self, text):
        assert "".join(pieces(text)) == text

    @given(st.text(st.characters()))
    def test_any_text_can_be_encoded_afterwards(self, text):
        assert well_formed(text + "\ud800").encode()
