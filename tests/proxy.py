"""A way to a server that can be blocked."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes connections to ``port`` on to ``target`` until it is stopped; then it cuts and refuses them."""

    def __init__(self, target):
        self.target = target
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.start()

    def start(self):
        self.server = socket.create_server(("127.0.0.1", self.port))
        self.open = [self.server]
        threading.Thread(target=self._accept, args=[self.server], daemon=True).start()

    def stop(self):
        for end in self.open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, server):
        with suppress(OSError):
            while True:
                client, _address = server.accept()
                upstream = socket.create_connection(self.target)
                self.open += [client, upstream]
                threading.Thread(target=self._pass_on, args=[client, upstream], daemon=True).start()

    def _pass_on(self, client, upstream):
        other = {client: upstream, upstream: client}
        with suppress(OSError, ValueError), client, upstream:
            while True:
                for end in select.select([client, upstream], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    other[end].sendall(data)
