"""A TCP relay that can be shut, so that the server behind it is gone for a while and comes back with all it had."""

import contextlib
import selectors
import socket
import threading
import time
from typing import cast
from urllib.parse import urlsplit

from model_servers import free_port


class Gate:
    """Passes connections on to `url`. While it is shut, connections are refused, and those that were open are cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._behind = (parts.hostname, parts.port)
        self._port = free_port()
        self.url = parts._replace(netloc=f"127.0.0.1:{self._port}").geturl()
        self._listener: socket.socket | None = None
        self._pairs: set[socket.socket] = set()
        self.open()

    def open(self) -> None:
        """Take connections."""
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=512)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> int:
        """Refuse new connections, and cut those that are open; how many. Each may lose one answer on its way."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        cut: set[socket.socket] = set()
        while pairs := list(self._pairs):
            cut.update(pairs)
            for one in pairs:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            time.sleep(0.01)
        return len(cut) // 2

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._behind) as server, selectors.DefaultSelector() as selector:
            ends = {client: server, server: client}
            self._pairs.update(ends)
            for end in ends:
                selector.register(end, selectors.EVENT_READ)
            with contextlib.suppress(OSError):
                while self._moved(selector, ends):
                    pass
            self._pairs.difference_update(ends)

    @staticmethod
    def _moved(selector: selectors.BaseSelector, ends: dict[socket.socket, socket.socket]) -> bool:
        """Move what has come to the other end; False when one end has closed."""
        for key, _ in selector.select():
            end = cast(socket.socket, key.fileobj)
            data = end.recv(65_536)
            if not data:
                return False
            ends[end].sendall(data)
        return True
