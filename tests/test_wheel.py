"""What is published, installed as a stranger would: it builds, downloads, and takes half a minute."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile

import django
import pytest

from demo_project.start import ROOT
from tests.processes import ask, free_port, request, serving
from tests.test_docs import README, block

pytestmark = pytest.mark.matrix
OUTSIDE = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    [wheel] = folder.iterdir()
    return wheel


@pytest.fixture(scope="module")
def python(wheel):
    """The Python of a new venv that holds the wheel, its dependencies and the Django of this run."""
    folder = wheel.parent / "venv"
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", wheel, f"django=={django.__version__}"], check=True)
    return folder / "bin" / "python"


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    files = {path for path in (ROOT / "chatsession").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == {str(path.relative_to(ROOT)) for path in files}


def test_the_chat_runs_in_an_empty_folder(python, tmp_path):
    port = free_port()
    command = [python, "-m", "chatsession", f"127.0.0.1:{port}"]
    with serving(command, port, cwd=tmp_path, env=OUTSIDE):
        page = request(port, "GET", "/chat/", headers={"Accept-Language": "ja"})
        assert ask(port, "/echo Hello, you!") == "Hello, you!"
    assert page.status == 200
    assert '<html lang="ja"' in page.text


@pytest.fixture
def manage(python, tmp_path):
    """The manage.py of a new project after the README's steps 1 to 3."""
    subprocess.run([python, "-m", "django", "startproject", "mysite", tmp_path], env=OUTSIDE, check=True)
    for name, mark in (("settings.py", "SESSION_ENGINE"), ("urls.py", "urlpatterns")):
        with (tmp_path / "mysite" / name).open("a") as file:
            file.write("\n" + block(README.read_text(), mark))
    return [python, tmp_path / "manage.py"]


def test_a_new_site_has_the_chat_after_five_steps(manage):
    for step in ("migrate --verbosity 0", "check --fail-level WARNING", "makemigrations --check"):
        subprocess.run([*manage, *step.split()], env=OUTSIDE, check=True)
    port = free_port()
    with serving([*manage, "runserver", "--noreload", str(port)], port, env=OUTSIDE):
        page = request(port, "GET", "/chat/", headers={"Accept-Language": "ja"})
        assert '<html lang="ja"' in page.text
        assert ask(port, "/echo Hello, you!") == "Hello, you!"
        assert request(port, "GET", "/admin/login/").status == 200
