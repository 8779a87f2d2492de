"""import-linter keeps our own layers apart; it cannot look inside Django."""

from __future__ import annotations

import ast

import pytest

from demo_project.start import ROOT

HTTP = ("django.http", "django.shortcuts", "django.urls", "django.views")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", ["conversations", "runs", "backends", "protocols", "stores"])
def test_what_knows_no_http_imports_none(package):
    files = list((ROOT / "chatsession" / package).rglob("*.py"))
    assert files
    assert [(file, name) for file in files for name in imported(file) if name.startswith(HTTP)] == []
