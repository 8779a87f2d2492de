"""The steps of ``start.py test`` and ``test-all``: each runs, its output is shown, at the end a line each.

What a machine lacks (PostgreSQL, Chromium, another Python) is skipped with a line that says how to get it.
On CI, where the variable CI is set, it is a failure.

TEST_POSTGRES       a PostgreSQL server whose user may create databases
TEST_MARIADB        the same of MariaDB or MySQL
TEST_REDIS          a Redis server with an empty database
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
POSTGRES = os.environ.get("TEST_POSTGRES", "postgres://postgres@127.0.0.1:5432")
REDIS = os.environ.get("TEST_REDIS", "redis://127.0.0.1:6379")
MARIADB = os.environ.get("TEST_MARIADB", "mysql://root@127.0.0.1:3306")
PAIRS = [("3.11", "5.2"), ("3.12", "6.1"), ("3.13", "6.1")]
QUICK = "not server and not browser and not matrix"
CLIENTS = ROOT / "tests" / "clients"
#: Test steps that run at the same time.
AT_ONCE = 2
#: They touch neither sessions nor tables, or have a database of their own, so that once is enough.
APART = ["backends", "protocols", "test_rendering.py", "test_chat_command.py"]
ONCE = [f"--ignore=tests/{name}" for name in APART]
#: What speaks SQL of its own; test-all runs everything on the other databases.
SQL = [
    "conversations",
    "runs",
    "stores",
    "views",
    "test_clearsessions.py",
    "test_retention.py",
    "test_sql.py",
]
ON_SQL = [f"tests/{name}" for name in SQL]
#: What uses the configured session store.
SESSIONS = ["views", "test_middleware.py", "test_streaming_commit.py", "test_streaming_ends.py"]
ON_STORE = [f"tests/{name}" for name in [*SESSIONS, "test_admin.py", "test_page.py", "test_sessions.py"]]


@dataclass(frozen=True)
class Step:
    """A command with its own variables; ``lacks`` is what the machine has not got, and how to get it."""

    name: str
    command: list[object]
    variables: dict[str, str] = field(default_factory=dict)
    lacks: str = ""


def lacks_chromium() -> str:
    return "" if shutil.which("chromium") else "no Chromium: apt-get install chromium fonts-noto-cjk"


def lacks_postgres() -> str:
    import psycopg

    try:
        psycopg.connect(f"{POSTGRES}/postgres", connect_timeout=3).close()
    except psycopg.OperationalError:
        return f"no {POSTGRES}: apt-get install postgresql, or set TEST_POSTGRES"
    return ""


def lacks_mariadb() -> str:
    import pymysql

    server = urlsplit(MARIADB)
    try:
        pymysql.connect(
            host=server.hostname,
            port=server.port or 3306,
            user=server.username,
            password=server.password or "",
        ).close()
    except pymysql.OperationalError:
        return f"no {MARIADB}: apt-get install mariadb-server, or set TEST_MARIADB"
    return ""


def lacks_redis() -> str:
    import redis

    try:
        redis.Redis.from_url(REDIS, retry=None).ping()
    except redis.ConnectionError:
        return f"no {REDIS}: apt-get install redis-server, or set TEST_REDIS"
    return ""


def lacks_npm() -> str:
    return "" if shutil.which("npm") else "no npm: apt-get install npm"


def client_packages_are_there() -> bool:
    """Whether what npm has installed is what the lock wants: then it needs no network."""
    try:
        wanted, found = (
            json.loads((CLIENTS / name).read_text())["packages"]
            for name in ("package-lock.json", "node_modules/.package-lock.json")
        )
    except FileNotFoundError:
        return False
    wanted.pop("")
    return bool(wanted == found)


def python(version: str) -> str | None:
    """A Python of that version that runs and can make venvs: from PATH or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [f"python{version}", *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    for candidate in filter(shutil.which, candidates):
        if (
            subprocess.run([candidate, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL).returncode
            == 0
        ):
            return str(candidate)
    return None


def static_steps() -> Iterator[Step]:
    yield Step("lint", [BIN / "ruff", "check"])
    yield Step("format", [BIN / "ruff", "format", "--check"])
    yield Step("types", [BIN / "mypy"])
    yield Step("layers", [BIN / "lint-imports"])
    makemigrations = [
        sys.executable,
        "-m",
        "django",
        "makemigrations",
        "--check",
        "--settings",
        "tests.settings",
    ]
    yield Step("migrations", makemigrations, {"TEST_DATABASE_URL": "sqlite:///:memory:"})


def packages() -> Iterator[Step]:
    if not client_packages_are_there():
        yield Step("npm packages", ["npm", "ci", "--prefix", CLIENTS], lacks=lacks_npm())


def test_steps() -> Iterator[Step]:
    def pytest(name: str, *options: str, lacks: str = "", **variables: str) -> Step:
        return Step(f"tests: {name}", [BIN / "pytest", "-m", *options], variables, lacks)

    # A database name of the checkout's own: two checkouts may be tested at the same time.
    database = f"{POSTGRES}/chatsession_{zlib.crc32(str(ROOT).encode())}"
    # The longest first, so that both hands are done at about the same time.
    yield pytest("Chromium", "browser", lacks=lacks_chromium())
    yield pytest("SQLite", QUICK)
    yield pytest("servers", "server and not browser and not matrix")
    yield pytest("PostgreSQL", QUICK, *ON_SQL, lacks=lacks_postgres(), TEST_DATABASE_URL=database)
    marked = "not browser and not matrix"
    yield pytest("Redis store", marked, *ON_STORE, lacks=lacks_redis(), TEST_STORE="redis")
    yield pytest("memory store", QUICK, *ON_STORE, TEST_STORE="memory")


def matrix_steps() -> Iterator[Step]:
    """What takes too long for every commit: faults, hosts, others' packages, the wheel, more servers."""
    yield Step("tests: matrix", [BIN / "pytest", "-m", "matrix"], lacks=lacks_postgres())
    once = [BIN / "pytest", "-m", QUICK, *ONCE]
    name = f"chatsession_{zlib.crc32(str(ROOT).encode())}_all"
    for server, lacks in ((POSTGRES, lacks_postgres()), (MARIADB, lacks_mariadb())):
        scheme = server.partition(":")[0]
        yield Step(f"tests: all on {scheme}", once, {"TEST_DATABASE_URL": f"{server}/{name}"}, lacks)
    machines = ["tests/stores/test_state.py", "tests/runs/test_state_machine.py"]
    yield Step("tests: long state machines", [BIN / "pytest", "-m", "server", *machines], {"TEST_SLOW": "1"})


def here() -> tuple[str, str]:
    """This Python and this Django."""
    import django

    return "{}.{}".format(*sys.version_info), "{}.{}".format(*django.VERSION)


def pair_steps() -> Iterator[Step]:
    for version, django in PAIRS:
        if (version, django) == here():
            continue  # that is what has just been tested
        found = python(version)
        lacks = "" if found else f"no Python {version}: pyenv install {version}"
        yield Step(
            f"Python {version}, Django {django}",
            [found, ROOT / "demo_project" / "start.py", "test"],
            {"DJANGO": django},
            lacks,
        )


def run(step: Step) -> tuple[str, bool]:
    """Do the step; its line for the end, and whether it failed."""
    if step.lacks:
        failed = bool(os.environ.get("CI"))
        return f"{'FAILED' if failed else 'skipped'}  {step.name}: {step.lacks}", failed
    start = time.monotonic()
    command = [str(part) for part in step.command]
    # Kept until it is done: two of them run at the same time.
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | step.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    took, failed = time.monotonic() - start, done.returncode != 0
    sys.stdout.write(f"\n=== {step.name}\n{done.stdout.decode(errors='replace')}")
    sys.stdout.flush()
    return f"{'FAILED' if failed else 'ok'}  {step.name}  {took:.1f} s", failed


def main(everything: bool) -> int:
    first = [*([] if os.environ.get("DJANGO") else static_steps()), *packages()]
    outcomes = [run(step) for step in first]
    with ThreadPoolExecutor(AT_ONCE) as hands:
        outcomes += hands.map(run, [*test_steps(), *(matrix_steps() if everything else [])])
    outcomes += [run(step) for step in (pair_steps() if everything else [])]
    print("\n" + "\n".join(line for line, _ in outcomes))
    return int(any(failed for _, failed in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] == ["all"]))
