"""What people run beside us, unmodified; each run is a site of its own with its user model."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from demo_project.start import ROOT

FOLDER = ROOT / "tests" / "thirdparty"
PACKAGES = ["allauth", "channels", "corsheaders", "debug_toolbar", "rest_framework"]


@pytest.fixture(autouse=True)
def installed():
    missing = [name for name in PACKAGES if not find_spec(name)]
    if missing:
        (pytest.fail if "CI" in os.environ else pytest.skip)(f"not installed: {', '.join(missing)}")


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("user_model", "files"),
    [
        ("auth.User", sorted(path.name for path in FOLDER.glob("test_*.py"))),
        ("users.UuidUser", ["test_users.py", "test_allauth.py", "test_rest_framework.py"]),
        ("users.NamedUser", ["test_users.py"]),
    ],
)
def test_with(user_model, files):
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.thirdparty.settings",
        "TEST_USER_MODEL": user_model,
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *(FOLDER / name for name in files),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
