from __future__ import annotations

import stat
import subprocess
import sys

from demo_project import secret_key, start


def test_the_key_stays_and_is_nobody_elses(tmp_path):
    path = tmp_path / "key"
    key = secret_key.of_checkout(path)
    assert len(key) >= 50
    assert secret_key.of_checkout(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret_key.of_checkout(tmp_path / "other") != key


def test_processes_that_start_at_once_agree_on_a_key(tmp_path):
    script = f"""if True:
        from pathlib import Path
        from demo_project.secret_key import of_checkout
        print("ready", flush=True)
        input()
        print(of_checkout(Path({str(tmp_path / "key")!r})))
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=start.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert len({process.communicate()[0] for process in processes}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
