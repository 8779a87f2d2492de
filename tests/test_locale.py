"""The Japanese catalogue: whole, compiled, and of the present strings."""

from __future__ import annotations

import ast
import gettext
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import chatsession

PACKAGE = Path(chatsession.__file__).parent
CATALOGUE = PACKAGE / "locale/ja/LC_MESSAGES"
KEYWORD = re.compile(r'^(msgid|msgid_plural|msgstr)(?:\[\d\])? (".*")$|^(".*")$')


def entries(po: Path) -> list[dict[str, str]]:
    """The entries of a .po file behind its header."""
    return [entry_of(block) for block in po.read_text().strip().split("\n\n")][1:]


def entry_of(block: str) -> dict[str, str]:
    entry = {"flags": ""}
    name = ""
    for line in block.splitlines():
        if line.startswith("#,"):
            entry["flags"] += line
        elif match := KEYWORD.match(line):
            name = match[1] or name
            entry[name] = entry.get(name, "") + ast.literal_eval(match[2] or match[3])
    return entry


def test_everything_is_translated():
    missing = [
        e["msgid"] for e in entries(CATALOGUE / "django.po") if not e["msgstr"] or "fuzzy" in e["flags"]
    ]
    assert missing == []


def test_the_compiled_catalogue_is_that_of_the_text():
    with (CATALOGUE / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for entry in entries(CATALOGUE / "django.po"):
        plural = entry.get("msgid_plural")
        found = compiled.ngettext(entry["msgid"], plural, 2) if plural else compiled.gettext(entry["msgid"])
        assert found == entry["msgstr"]


def test_placeholders_survive_the_translation():
    for entry in entries(CATALOGUE / "django.po"):
        wanted, found = (sorted(re.findall(r"%\(\w+\)[sd]", entry[name])) for name in ("msgid", "msgstr"))
        assert found == wanted


@pytest.mark.skipif(not shutil.which("xgettext"), reason="needs GNU gettext: apt install gettext")
def test_the_catalogue_has_the_present_strings(tmp_path):
    copy = tmp_path / "chatsession"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "static"))
    (copy / "locale/ja/LC_MESSAGES/django.po").unlink()

    command = [sys.executable, "-m", "django", "makemessages", "-l", "ja", "--no-wrap"]
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=copy, check=True, capture_output=True, env=environment)

    present = {entry["msgid"] for entry in entries(copy / "locale/ja/LC_MESSAGES/django.po")}
    assert present - {entry["msgid"] for entry in entries(CATALOGUE / "django.po")} == set()
