"""From a fresh clone: ``python3 demo_project/start.py demo``, ``chaos``, ``test`` or ``test-all``.

It needs Python and its venv module, nothing else: everything is installed into ``.venv`` beside
``pyproject.toml``, and a stamp in there lets the second start do without the network.

``demo`` serves the chat and the admin. The environment chooses:

HOST, PORT              where to listen: 127.0.0.1 and 8000, or the next free port
DEMO_ADMIN_PASSWORD     the password of the user "admin"; otherwise the first start makes one and shows it

``chaos`` is the demo on two workers, with a button that kills the one that is writing.

The server's own variables (store, database, language model) are in the docstring of ``settings.py``.

``test`` runs what has to be green before a commit, ``test-all`` repeats it on every supported pair of Python
and Django. ``DJANGO=6.1 python3.12 demo_project/start.py test`` is one such pair, in a venv of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DJANGO = os.environ.get("DJANGO")
VENV = ROOT / (".venv-{}.{}-{}".format(*sys.version_info[:2], DJANGO) if DJANGO else ".venv")
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "installed.txt"
MANAGE = ROOT / "demo_project" / "manage.py"
DEFAULT_PORTS = range(8000, 8100)

TEXTS = {
    "en": {
        "usage": "Usage: python3 demo_project/start.py demo | chaos | test | test-all",
        "old_python": "Python 3.11 or newer is needed; this one is {}.",
        "no_venv": "Python's venv module is missing. This brings it:  {}",
        "installing": "Installing into .venv; later starts skip this ...",
        "failed": "That did not work; the reason stands above.",
        "bad_port": "PORT must be a number from 1 to 65535, not {!r}.",
        "port_in_use": "Port {} of {} is in use, or not allowed.",
        "no_port": "No port from {} to {} is free on {}; choose another with PORT.",
        "admin": "Login:  user admin, password {}  (shown only this once)",
        "addresses": "Chat:   {0}chat/\nAdmin:  {0}admin/\nCtrl-C ends the server.",
    },
    "ja": {
        "usage": "使い方: python3 demo_project/start.py demo | chaos | test | test-all",
        "old_python": "Python 3.11 以上が必要です (実行中の Python は {} です)。",
        "no_venv": "Python の venv モジュールがありません。次のコマンドで入ります:  {}",
        "installing": ".venv にインストールしています (2 回目からは省かれます) ...",
        "failed": "失敗しました。理由は上に表示されています。",
        "bad_port": "PORT は 1 から 65535 までの数にしてください ({!r} は使えません)。",
        "port_in_use": "ポート {} は {} で使用中か、許可されていません。",
        "no_port": "ポート {} から {} まで、{} で空いているものがありません。PORT で指定してください。",
        "admin": "ログイン: ユーザー名 admin、パスワード {}  (表示は今回だけです)",
        "addresses": "チャット: {0}chat/\n管理画面: {0}admin/\nCtrl-C で終了します。",
    },
}


def text(key: str, *values: object) -> str:
    """The text in the language of the terminal."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return TEXTS["ja" if locale.startswith("ja") else "en"][key].format(*values)


def need_python(version: tuple[int, ...]) -> None:
    if version < (3, 11):
        sys.exit(text("old_python", ".".join(map(str, version))))


def need_venv_module() -> None:
    """Debian and Ubuntu package it apart from Python."""
    if not importlib.util.find_spec("venv") or not importlib.util.find_spec("ensurepip"):
        sudo = "sudo " if os.geteuid() else ""
        sys.exit(text("no_venv", f"{sudo}apt-get install -y python3-venv"))


def run(*command: object) -> None:
    if subprocess.run([str(part) for part in command], cwd=ROOT).returncode:
        sys.exit(text("failed"))


def become(*arguments: object) -> None:
    """Run the venv's Python in the place of this process, so that Ctrl-C and every signal reach it."""
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execv(PYTHON, [str(part) for part in (PYTHON, *arguments)])


def dependency_group(name: str) -> list[str]:
    """The requirements of one group of pyproject.toml; pip reads them itself only since 25.1."""
    import tomllib  # not yet there in the versions that need_python refuses

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    requirements: list[str] = []
    for entry in groups[name]:
        requirements += [entry] if isinstance(entry, str) else dependency_group(entry["include-group"])
    return requirements


def demo_requirements() -> list[str]:
    """What the chosen language model, database and Redis need beyond the package."""
    wanted = {
        "openai": os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY"),
        "redis": os.environ.get("REDIS_URL"),
    }
    extras = ",".join(extra for extra, is_wanted in wanted.items() if is_wanted)
    postgres = os.environ.get("DATABASE_URL", "").startswith("postgres")
    return ["-e", f"{ROOT}[{extras}]" if extras else f"{ROOT}", *(["psycopg[binary]"] if postgres else [])]


def stamp_of(requirements: list[str]) -> str:
    wanted = "\n".join([(ROOT / "pyproject.toml").read_text(), *requirements])
    return hashlib.sha256(wanted.encode()).hexdigest()


def install(requirements: list[str]) -> None:
    """Bring the requirements into the venv unless its stamps say that they are there."""
    stamp = stamp_of(requirements)
    stamps = STAMPS.read_text().split() if STAMPS.exists() and PYTHON.exists() else []
    if stamp in stamps:
        return
    need_venv_module()
    print(text("installing"), flush=True)
    if not stamps:
        run(sys.executable, "-m", "venv", VENV)
    run(PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *requirements)
    STAMPS.write_text("\n".join([*stamps, stamp]))


def is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose_port(host: str, wanted: str | None) -> int:
    """The wanted port, or the first free one of the default ports."""
    if wanted:
        if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
            sys.exit(text("bad_port", wanted))
        if not is_free(host, int(wanted)):
            sys.exit(text("port_in_use", wanted, host))
        return int(wanted)
    free = next((port for port in DEFAULT_PORTS if is_free(host, port)), None)
    return free or sys.exit(text("no_port", DEFAULT_PORTS[0], DEFAULT_PORTS[-1], host))


def show_admin() -> None:
    """Have the demo's admin made, and show a password that is new."""
    command = [str(part) for part in (PYTHON, MANAGE, "demo_admin")]
    made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if made.returncode:
        sys.exit(text("failed"))
    if made.stdout:
        print(text("admin", made.stdout.strip()))


def prepare(*requirements: str) -> tuple[str, int, str]:
    """Bring everything that the demo needs; host, port and both together, as addresses have them."""
    host = os.environ.get("HOST") or "127.0.0.1"
    port = choose_port(host, os.environ.get("PORT"))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    install([*demo_requirements(), *requirements])
    run(PYTHON, MANAGE, "migrate", "--verbosity", "0")
    show_admin()
    print(text("addresses", f"http://{address}/"))
    return host, port, address


def demo() -> None:
    address = prepare()[-1]
    # One process, so that the memory store and the port end with it; insecure: static files without DEBUG.
    become(MANAGE, "runserver", "--noreload", "--insecure", address)


def chaos() -> None:
    host, port, _ = prepare("uvicorn")
    options = ["--workers", 2, "--log-level", "warning", "--timeout-graceful-shutdown", 3]
    become("-m", "uvicorn", "demo_project.chaos.asgi:application", "--host", host, "--port", port, *options)


def test(*options: str) -> None:
    django = [f"django~={DJANGO}.0"] if DJANGO else []
    install(["-e", str(ROOT), *dependency_group("dev"), *django])
    become(ROOT / "demo_project" / "steps.py", *options)


def main(arguments: list[str]) -> None:
    need_python(sys.version_info[:3])
    commands = {"demo": demo, "chaos": chaos, "test": test, "test-all": lambda: test("all")}
    if len(arguments) != 1 or arguments[0] not in commands:
        sys.exit(text("usage"))
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)  # the shell's own project has nothing to say here
    try:
        commands[arguments[0]]()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1:])
