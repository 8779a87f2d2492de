"""The tests of the page's pure modules, run by Node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = sorted(str(path) for path in (Path(__file__).parent / "js").glob("*.test.mjs"))


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node 20 or later: apt-get install nodejs")
def test_the_pure_modules():
    run = subprocess.run(["node", "--test", *TESTS], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
