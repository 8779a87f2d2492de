"""The console chat as a process: in a terminal and in a pipe."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress

import pytest

from tests.servers import environment, migrate

pytestmark = pytest.mark.server

PATIENCE = 30  # seconds
COMMAND = [sys.executable, "-W", "error", "-m", "django", "chat", "--skip-checks"]
#: Makes the terminal on stdin the one whose Ctrl-C is a signal: the first that the session's leader opens.
LEADER = "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.argv[1], sys.argv[1:])"
CTRL_C, CTRL_D, CTRL_V = "\x03", "\x04", "\x16"
SEQUENCES = re.compile(r"\x1b\[[?0-9;]*[a-zA-Z]|\r")
PROMPT = "\n> "


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("console") / "db.sqlite3"
    migrate(f"sqlite:///{path}")
    return path


def stored(database, conversation_id):
    query = (
        "SELECT m.status, json_extract(m.parts, '$[0].text'), owner FROM chatsession_message m "
        "JOIN chatsession_conversation c ON c.id = conversation_id WHERE c.public_id = ? ORDER BY m.id"
    )
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, [conversation_id]).fetchall()


def pipe(database, text, *options):
    """The chat with ``text`` on its stdin."""
    return subprocess.run(
        [*COMMAND, *options],
        env=environment(f"sqlite:///{database}"),
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


class Terminal:
    """A chat in a terminal of its own: type, and wait for what it shows."""

    def __init__(self, master, process) -> None:
        self.master, self.process = master, process
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.shown = ""

    def type(self, text) -> None:
        os.write(self.master, text.encode())

    def expect(self, text):
        """What is shown up to the next ``text``, that included."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown!r}"
            self._read()
        found, _, self.shown = self.shown.partition(text)
        return found + text

    def _read(self) -> None:
        if select.select([self.master], [], [], 1)[0]:
            self.shown = SEQUENCES.sub("", self.shown + self.decoder.decode(os.read(self.master, 10_000)))

    def leaves_at(self, key) -> bool:
        """Whether the key ends it. Typed again if not: readline may miss one just behind its prompt."""
        for _ in range(PATIENCE // 5):
            self.type(key)
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(5) == 0
        return False


@contextmanager
def terminal(database, *options):
    master, slave = pty.openpty()
    variables = environment(f"sqlite:///{database}", TERM="dumb")
    process = subprocess.Popen(
        [sys.executable, "-c", LEADER, *COMMAND, *options],
        env=variables,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_several_turns_are_remembered_and_shown_when_it_goes_on(database):
    with terminal(database, "--conversation", "talk") as chat:
        chat.expect("> ")
        chat.type("My name is Ann\n")
        assert "Noted" in chat.expect(PROMPT)
        chat.type("\nWhat is my name?\n")
        chat.expect("Your name is **Ann**")
        chat.expect(PROMPT)
        assert chat.leaves_at(CTRL_D)
        chat.expect("--conversation talk")

    with terminal(database, "--conversation", "talk") as chat:
        shown = chat.expect("You told me in turn 1")
        assert shown.index("> My name is Ann") < shown.index("> What is my name?")
        chat.expect(PROMPT)
        assert chat.leaves_at(CTRL_C)
    assert {row[2].partition(":")[0] for row in stored(database, "talk")} == {"console"}


def test_ctrl_c_stops_an_answer_and_keeps_what_is_written(database):
    with terminal(database, "--conversation", "stop") as chat:
        chat.expect("> ")
        chat.type("/slow 300\n")
        written = chat.expect("after the ")  # while it is being written
        chat.type(CTRL_C)
        written += chat.expect("^C\nStopped.").removesuffix("^C\nStopped.")
        chat.expect("> ")
        chat.type("/echo still here\n")
        chat.expect("still here\n> ")

    [_, (status, text, _), _, (after, _, _)] = stored(database, "stop")
    assert (status, after) == ("stopped", "complete")
    assert written.partition("/slow 300\n")[2].rstrip() == text.rstrip()


def test_a_failure_is_one_line_and_the_talk_goes_on(database):
    with terminal(database) as chat:
        chat.expect("> ")
        chat.type("/error\n")
        shown = chat.expect(PROMPT)
        assert "This error was asked for with /error." in shown
        assert "Traceback" not in shown


def test_a_model_cannot_command_the_terminal(database):
    with terminal(database) as chat:
        chat.expect("> ")
        chat.type(f"/echo safe{CTRL_V}\x1b[2Jsafe\n")
        assert "safe\ufffd[2Jsafe" in chat.expect(PROMPT)


def test_in_japanese(database):
    with terminal(database, "--language", "ja") as chat:
        assert "Ctrl-C で回答を停止" in chat.expect("> ")
        chat.type("名前は花子です\n")
        assert "花子" in chat.expect(PROMPT).partition("\n")[2]


def test_a_line_of_a_pipe_is_a_message_and_nothing_but_the_answers_comes_out(database):
    done = pipe(database, "My name is Ann\n\n/echo 二行目\n", "--conversation", "piped")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("Noted: your name is **Ann**.")
    assert done.stdout.splitlines()[-1] == "二行目"
    assert [row[0] for row in stored(database, "piped")] == ["complete"] * 4


@pytest.mark.parametrize("line", ["/error", "x" * 20_001])
def test_a_pipe_ends_at_an_error(database, line):
    done = pipe(database, f"{line}\n/echo never\n")

    assert done.returncode == 1
    assert "CommandError" in done.stderr
    assert "never" not in done.stdout


def test_a_user_goes_on_with_a_conversation_of_the_page(database):
    code = "from django.contrib.auth.models import User; User.objects.create_user('ann')"
    command = [sys.executable, "-m", "django", "shell", "--command", code]
    subprocess.run(command, env=environment(f"sqlite:///{database}"), check=True, capture_output=True)

    assert pipe(database, "/echo mine\n", "--user", "ann", "--conversation", "mine").returncode == 0

    assert {row[2] for row in stored(database, "mine")} == {"user:1"}


@pytest.mark.parametrize(
    "options", [("--user", "nobody"), ("--language", "xx-nonsense"), ("--model", "none")], ids=lambda o: o[0]
)
def test_what_does_not_exist_is_refused(database, options):
    done = pipe(database, "hello\n", *options)

    assert done.returncode != 0
    assert options[1] in done.stderr
    assert "Traceback" not in done.stderr
