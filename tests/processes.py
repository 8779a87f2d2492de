"""Servers in processes of their own, on free ports of this machine."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from contextlib import closing, contextmanager

PATIENCE = 30  # seconds


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def request(port, method, path, *, body=None, headers=None):
    """One request on a connection of its own, redirects not followed; the response, read to its end."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        response.text = response.read().decode()
    return response


def ask(port, text):
    """What a new visitor of the chat page is answered, as the stream brings it."""
    page = request(port, "GET", "/chat/")
    cookies = dict(line.split(";")[0].split("=", 1) for line in page.headers.get_all("Set-Cookie"))
    headers = {
        "Content-Type": "application/json",
        "Cookie": "; ".join(map("=".join, cookies.items())),
        "X-CSRFToken": cookies["csrftoken"],
    }
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}]}
    body = json.dumps({"id": "c1", "message": message})
    answer = request(port, "POST", "/chat/api/chat", body=body, headers=headers)
    assert answer.status == 200, answer.text
    frames = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return "".join(frame.get("delta", "") for frame in map(json.loads, frames))


@contextmanager
def serving(command, port, **options):
    """The process of a server that listens; it is ended at the end of the block unless it is ended there.

    What it says is to be read by ``communicate()``; much of it needs a file as ``stdout``.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, **pipes | options)
    try:
        wait_for(process, port)
        yield process
    finally:
        process.terminate()  # kill() would leave its files behind
        try:
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()


def wait_for(process, port):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(process.stdout.read())
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")
