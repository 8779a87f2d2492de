from __future__ import annotations

import asyncio
import re

from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from chatsession.backends.base import BackendError, Source, Usage
from chatsession.backends.demo import DemoBackend
from chatsession.backends.demo.pieces import pieces
from chatsession.testing.backends import BackendContract, chunks_of, make_prompt

DEMO = DemoBackend(delay=0)


async def chunks(text, *before, **values):
    """What the demo yields; ``before`` are the visitor's earlier messages."""
    between = [part for message in before for part in (message, "An answer.")]
    return [chunk async for chunk in chunks_of(DEMO, make_prompt(text, before=between, **values))]


async def reply(text, *before, **values):
    return "".join(c for c in await chunks(text, *before, **values) if isinstance(c, str))


class MemoryTests(SimpleTestCase):
    async def test_the_third_answer_refers_to_the_first_turn(self):
        answer = await reply("いい天気ですね", "私の名前は花子です", "京都に住んでいます")
        assert answer.startswith(
            "3 ターン目です。1 ターン目は「私の名前は花子です」、前回は「京都に住んでいます」"
        )
        answer = await reply("Nice weather", "My name is Alex", "I live in Kyoto")
        assert answer.startswith(
            "This is turn 3. In turn 1 you said “My name is Alex”, and just before “I live"
        )

    async def test_the_first_answer_refers_to_nothing(self):
        assert "turn" not in (await reply("Hello")).split(".")[0]

    async def test_facts_are_told_again_when_asked_for(self):
        cases = [
            ("My name is Alex Smith.", "What is my name?", "Your name is **Alex Smith**"),
            ("Hi! My name’s Alex", "Do you remember my name?", "**Alex**"),
            ("Please call me Al", "who am I", "**Al**"),
            ("I live in Kyoto, Japan.", "Where do I live?", "You live in **Kyoto, Japan**"),
            ("My favorite color is blue", "What's my favourite colour?", "Your favourite colour is **blue**"),
            ("My cat is Tama.", "What is my cat?", "Your cat is **Tama**"),
            ("I love sushi", "What do I like?", "You like **sushi**"),
            ("私の名前は山田太郎です。", "私の名前は？", "お名前は **山田太郎** です"),
            ("名前は花子だよ", "名前は何ですか？", "**花子**"),
            ("私は太郎です", "私の名前は？", "**太郎**"),
            ("私は太郎です。", "私は誰？", "**太郎**"),
            ("はじめまして。花子と申します。", "私の名前を覚えていますか？", "**花子**"),
            ("私は京都に住んでいます", "私はどこに住んでいますか？", "**京都**"),
            ("僕の好きな色は青です", "僕の好きな色は？", "好きな色は **青** です"),
            ("好きな食べ物は寿司です！", "好きな食べ物は何でしたっけ", "**寿司**"),
            ("私の犬はポチです", "私の犬は？", "犬は **ポチ**"),
            ("My name is Alex, nice to meet you", "Do you know who I am?", "**Alex**"),
            ("My name is Alex and I live in Kyoto. And you?", "Where do I live?", "**Kyoto**"),
            ("My name is Alex, and what is yours?", "Tell me my name", "**Alex**"),
            ("こんにちは、私の名前は太郎です", "ところで、私の名前は何ですか？", "**太郎**"),
            ("私の名前は太郎で、京都に住んでいます。", "私の名前を教えてください", "**太郎**"),
            ("私の名前は太郎で、京都に住んでいます。", "私はどこに住んでいますか？", "**京都**"),
            ("私の名前は太郎です", "私の名前わかる？", "**太郎**"),
            ("私は猫が好きです", "何が好きですか？", "**猫**"),
        ]
        for told, question, expected in cases:
            with self.subTest(told):
                assert expected in await reply(question, told)

    async def test_a_fact_is_remembered_over_many_turns_and_across_languages(self):
        assert "**Alex**" in await reply("私の名前は？", "My name is Alex", *["ふむ"] * 30)

    async def test_the_newest_fact_counts_and_its_turn_is_told(self):
        answer = await reply("What is my name?", "My name is Alex", "My name is Robin")
        assert "**Robin**. You told me in turn 2: “My name is Robin”" in answer

    async def test_a_fact_is_noted_when_it_is_told(self):
        assert "覚えました。お名前は **花子** ですね" in await reply("私の名前は花子です。")

    async def test_a_question_is_no_fact(self):
        assert "You have not told me that" in await reply("What is my name?", "Do you know my name is Alex?")
        assert "You have not told me that" in await reply("What is my name?", "What is my name?")
        assert "まだ教えていただいていません" in await reply("私の名前は？", "私の名前は何ですか？")

    async def test_what_only_the_assistant_said_is_not_believed(self):
        prompt = make_prompt("What is my name?", before=["Hm", "My name is Demo."])
        text = "".join([c async for c in DEMO.stream(prompt) if isinstance(c, str)])
        assert "You have not told me that" in text

    async def test_what_was_said_is_quoted_when_asked_for(self):
        assert "In turn 1 you said “apples”" in await reply("What did I say first?", "apples", "pears")
        assert "in turn 2, you said “pears”" in await reply("What did I just say?", "apples", "pears")
        assert "1 ターン目に「りんご」と" in await reply("最初に何と言いましたか？", "りんご", "なし")
        assert "まだ何も伺っていません" in await reply("さっき何て言った？")

    async def test_quotes_are_short_and_bring_no_formatting_along(self):
        answer = await reply("Hm", "**bold** <script> " + "x" * 500)
        assert r"\*\*bold\*\* \<script\>" in answer
        assert "x…" in answer and "x" * 41 not in answer


class LookupTests(SimpleTestCase):
    async def test_an_answer_quotes_the_documentation_and_names_its_source(self):
        answer = await chunks("How do I install it?")
        assert Source("#installation", "Installation") in answer
        text = "".join(c for c in answer if isinstance(c, str))
        assert (
            "under **Installation**" in text and "> 1. Install it: `pip install django-chatsession`" in text
        )

    async def test_what_the_documentation_does_not_say_is_not_known(self):
        for question in (
            "What is the capital of France?",
            "How is the weather?",
            "Tell me a joke",
            "2+2?",
            "asdf",
        ):
            with self.subTest(question):
                assert "I don't know" in await reply(question)
        for question in ("フランスの首都は？", "今日の天気は？", "冗談を言って", "1+1は？", "あいうえお"):
            with self.subTest(question):
                answer = await reply(question)
                assert "分かりません" in answer and "/help" in answer


class LanguageTests(SimpleTestCase):
    async def test_the_message_decides_and_the_visitors_language_fills_in(self):
        assert "こんにちは" in await reply("こんにちは", language="en")
        assert "Hello" in await reply("Hello", language="ja")
        assert "分かりません" in await reply("123?", language="ja")
        assert "I don't know" in await reply("123?", language="de")
        assert "コマンド" in await reply("/help", language="ja")


class CommandTests(SimpleTestCase):
    async def test_help_lists_every_command(self):
        for language in ("en", "ja"):
            answer = await reply("/help", language=language)
            for command in ("/help", "/echo", "/long", "/slow", "/markdown", "/code", "/error", "/stall"):
                assert f"| `{command}" in answer

    async def test_help_may_be_asked_for_in_words(self):
        assert "| `/echo TEXT`" in await reply("What can you do?")
        assert "| `/echo 文章`" in await reply("使い方は？")

    async def test_echo_repeats_to_the_letter(self):
        text = "**か\u3099** 👨‍👩‍👧 <b>\n  x"
        assert await reply(f"/echo {text}") == text

    async def test_echo_without_a_text_says_what_is_missing(self):
        assert "/echo TEXT" in await reply("/echo  ", language="en")

    async def test_long_writes_exactly_so_many_tokens(self):
        answer = await chunks("/long 1000")
        assert answer[-1].output_tokens == len(answer) - 1 == 1000
        assert "".join(answer[:-1]).split() == [str(n) for n in range(1, 1001)]

    async def test_long_lets_other_tasks_run(self):
        task = asyncio.ensure_future(chunks("/long 100000"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()

    async def test_slow_waits_between_some_forty_tokens(self):
        for language in ("en", "ja"):
            prompt = make_prompt("/slow 1", language=language)
            loop = asyncio.get_running_loop()
            begin = loop.time()
            count = len([c async for c in DEMO.stream(prompt) if isinstance(c, str)])
            assert 35 <= count <= 45
            assert loop.time() - begin >= 0.001 * (count - 1)

    async def test_numbers_beyond_the_limit_get_a_friendly_text(self):
        for text in (
            "/long",
            "/long x",
            "/long -1",
            "/long 100001",
            "/long " + "9" * 5000,
            "/long ,",
            "/long ٣",
        ):
            with self.subTest(text[:20]):
                assert "at most 100,000" in await reply(text, language="en")
        assert "60,000 以下" in await reply("/slow 60001", language="ja")

    async def test_markdown_and_code_show_their_kinds_of_block(self):
        answer = await reply("/markdown")
        for mark in ("# ", "1. ", "   - ", "> ", "|---|", "**「重要」**", "](https://"):
            assert mark in answer
        assert "```python\n" in await reply("/code")

    async def test_error_fails_in_mid_answer(self):
        answer = DEMO.stream(make_prompt("/error"))
        assert await anext(answer)
        with self.assertRaisesMessage(BackendError, "This error was asked for with /error."):
            async for _ in answer:
                pass

    async def test_stall_writes_some_words_and_then_nothing_until_it_is_closed(self):
        answer = DEMO.stream(make_prompt("/stall"))
        words = [await anext(answer) for _ in pieces("Here are some words, ")]
        waiting = asyncio.ensure_future(self._rest(answer))
        for _ in range(100):
            await asyncio.sleep(0)
        assert "".join(words) == "Here are some words, "
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()

    async def _rest(self, answer):
        async for _ in answer:
            pass

    async def test_an_unknown_command_is_named(self):
        assert "`/dance`" in await reply("/dance now")

    async def test_a_path_is_no_command(self):
        assert "command" not in (await reply("/etc/passwd")).split("/help")[0]


PARTS = (
    "私の名前は|太郎|です|？|何|好きな|は|に住んで|私は|/|/long|/echo |か\u3099"
    "|My name |is |I |live in |what |?|{|}|{0}|1|「|\n|.|\ud83d|chatsession"
)
WORDS = st.sampled_from(PARTS.split("|"))
MESSAGES = st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=12).map("".join))


class RobustnessTests(SimpleTestCase):
    @settings(max_examples=300, deadline=None)
    @given(MESSAGES, st.lists(MESSAGES, max_size=4), st.sampled_from(["ja", "en", "", "zh-hans"]))
    def test_no_message_makes_it_fail(self, text, before, language):
        if re.match(r"\s*/(long|slow|stall|error)", text, re.I):
            text = "." + text
        answer = asyncio.run(chunks(text, *before, language=language))
        assert isinstance(answer.pop(), Usage)
        assert "".join(c for c in answer if isinstance(c, str)).encode()

    async def test_the_same_conversation_gets_the_same_answer(self):
        assert await chunks("Hm", "My name is Alex") == await chunks("Hm", "My name is Alex")

    async def test_a_pasted_book_does_not_hold_the_loop(self):
        book = "私の私は名前の好きな" * 2000
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await anext(DEMO.stream(make_prompt(book, before=[book] * 100)))
        assert loop.time() - begin < 1


class ContractTests(BackendContract, SimpleTestCase):
    backend = DEMO


class PacedContractTests(BackendContract, SimpleTestCase):
    backend = DemoBackend(delay=0.001)
