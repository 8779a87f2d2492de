"""What the demo says: content in two languages, not strings of the user interface."""

from __future__ import annotations

from typing import Final

LONG_LIMIT: Final = 100_000
SLOW_LIMIT: Final = 60_000

_EN: Final = {
    "turn_2": "This is turn {turn}. In the turn before you said “{first}”.\n\n",
    "turn_3": "This is turn {turn}. In turn 1 you said “{first}”, and just before “{last}”.\n\n",
    "hello": "Hello! I am the demo of chatsession, not a language model. I remember what you tell me in this "
    "conversation, and I look questions up in the package's own documentation. Try “My name is Alex”, "
    "“How do I install it?” or `/help`.",
    "noted": "Noted: {label} **{value}**. Ask me about it in a later turn.",
    "recalled": "{label} **{value}**. You told me in turn {turn}: “{quote}”.",
    "not_told": "You have not told me that in this conversation yet.",
    "said_first": "In turn 1 you said “{quote}”.",
    "said_last": "Just before, in turn {turn}, you said “{quote}”.",
    "nothing_said": "This is the first turn: you have said nothing before.",
    "found": "The documentation says, under **{title}**:\n\n{quote}\n",
    "unknown": "I don't know. I am a demo, not a language model: I only remember this conversation and look "
    "things up in the documentation of chatsession. `/help` lists what I can do.",
    "no_command": "There is no command `{name}`. `/help` lists those there are.",
    "echo_what": "Write a text behind the command: `/echo TEXT`.",
    "number": "Write a number behind the command, at most {limit:,}: `{name} {example}`.",
    "error": "Here are some words, and then an error ends the answer as you asked: ",
    "stall": "Here are some words, and then silence. Stop the answer when you have seen enough. ",
    "slow": "One piece after the other, at the pace you asked for: so a slow model looks while it writes, "
    "and you can stop it, reload the page or open a second tab before it has come to its end.",
    "help": """\
I am the demo of **chatsession**: I run offline, and I am not a language model.

- Tell me something about you: “My name is Alex”, “I live in Kyoto”, “My favourite colour is blue”. \
Ask for it later: “What is my name?”
- Ask about this package: “How do I install it?”, “Which settings are there?”

| Command | What it does |
|---|---|
| `/help` | shows this |
| `/echo TEXT` | repeats TEXT |
| `/long N` | writes N tokens at full speed |
| `/slow MS` | writes some 40 tokens, MS milliseconds apart |
| `/markdown` | shows headings, a list, a table, a link |
| `/code` | shows a block of Python |
| `/error` | fails in the middle of the answer |
| `/stall` | writes some words, then falls silent until stopped |
""",
    "markdown": """\
# A heading

A paragraph with **bold**, *italic* and `code`, and a [link](https://www.djangoproject.com/).
Bold next to brackets: **「重要」**です。

## A smaller heading

1. first
2. second
   - nested

> A quotation.

| Store | Lives in |
|---|---|
| `memory` | one process |
| `db` | the database |
""",
    "code": """\
A view that counts visits in the session:

```python
from django.http import HttpResponse


def visits(request):
    count = request.session.get("visits", 0) + 1
    request.session["visits"] = count
    return HttpResponse(f"Visit number {{count}}")
```
""",
    "label.name": "your name is",
    "label.home": "you live in",
    "label.self": "you are",
    "label.likes": "you like",
    "label.other": "your {key} is",
}

_JA: Final = {
    "turn_2": "{turn} ターン目です。前回は「{first}」とおっしゃいました。\n\n",
    "turn_3": "{turn} ターン目です。1 ターン目は「{first}」、前回は「{last}」とおっしゃいました。\n\n",
    "hello": "こんにちは。chatsession のデモです。言語モデルではありません。この会話で教えていただいたことを"
    "覚え、ご質問はパッケージの文書から探してお答えします。「私の名前は花子です」「インストール方法は？」、"
    "または `/help` をお試しください。",
    "noted": "覚えました。{label} **{value}** ですね。あとのターンで聞いてみてください。",
    "recalled": "{label} **{value}** です。{turn} ターン目に「{quote}」と教えていただきました。",
    "not_told": "それは、この会話ではまだ教えていただいていません。",
    "said_first": "1 ターン目に「{quote}」とおっしゃいました。",
    "said_last": "前回（{turn} ターン目）は「{quote}」とおっしゃいました。",
    "nothing_said": "これが最初のターンなので、まだ何も伺っていません。",
    "found": "文書の **{title}** に、こう書かれています。\n\n{quote}\n",
    "unknown": "分かりません。私はデモで、言語モデルではありません。この会話を覚えておくことと、"
    "chatsession の文書から探すことだけができます。できることの一覧は `/help` でご覧いただけます。",
    "no_command": "`{name}` というコマンドはありません。一覧は `/help` でご覧いただけます。",
    "echo_what": "コマンドの後ろに文章を書いてください：`/echo 文章`。",
    "number": "コマンドの後ろに {limit:,} 以下の数を書いてください：`{name} {example}`。",
    "error": "ここまで書いたところで、ご依頼のとおりエラーで終わります。",
    "stall": "ここまで書いたら黙ります。確認できたら、停止してください。",
    "slow": "ご指定の間隔で、少しずつ書いています。遅いモデルの返答はこのように見えます。書き終わる前に、"
    "停止したり、ページを再読み込みしたり、別のタブで開いたりしてみてください。",
    "help": """\
**chatsession** のデモです。オフラインで動き、言語モデルではありません。

- ご自分のことを教えてください：「私の名前は花子です」「京都に住んでいます」「好きな色は青です」。\
あとで聞いてみてください：「私の名前は？」
- このパッケージについて聞いてください：「インストール方法は？」「どんな設定がありますか？」

| コマンド | 内容 |
|---|---|
| `/help` | この一覧を表示します |
| `/echo 文章` | 文章をそのまま返します |
| `/long N` | N トークンを全速力で書きます |
| `/slow MS` | 約 40 トークンを MS ミリ秒おきに書きます |
| `/markdown` | 見出し、リスト、表、リンクを表示します |
| `/code` | Python のコードを表示します |
| `/error` | 返答の途中で失敗します |
| `/stall` | 少し書いてから、停止されるまで黙ります |
""",
    "markdown": """\
# 見出し

**太字**、*斜体*、`コード`、[リンク](https://www.djangoproject.com/)のある段落です。
かぎ括弧の隣の太字：**「重要」**です。**注意：**ここも太字です。

## 小さな見出し

1. 一つ目
2. 二つ目
   - 入れ子

> 引用です。

| ストア | 保存先 |
|---|---|
| `memory` | 一つのプロセス |
| `db` | データベース |
""",
    "code": """\
訪問回数をセッションで数えるビューです。

```python
from django.http import HttpResponse


def visits(request):
    count = request.session.get("visits", 0) + 1
    request.session["visits"] = count
    return HttpResponse(f"{{count}} 回目の訪問です")
```
""",
    "label.name": "お名前は",
    "label.home": "お住まいは",
    "label.self": "あなたは",
    "label.likes": "お好きなものは",
    "label.other": "{key}は",
}

PHRASES: Final = {"en": _EN, "ja": _JA}
