"""A TCP proxy in front of a server, which can be slow, silent or dead like a network."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

_CHUNK = 65_536
_LOOK_S = 0.05


class Wire:
    """Proxy that passes connections on to `port` of this machine.

    `delay_s`: time that passes before a connection's first bytes are passed on. While `is_dead`,
    connections are closed at once; while `silent`, bytes are held back.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open = threading.Event()
        self._open.set()
        self._closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self.delay_s = 0.0
        self.is_dead = False
        self.accept_count = 0

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @contextmanager
    def running(self) -> Iterator[Self]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._closing.set()
            self._open.set()
            self._listener.close()
            self.cut()

    @contextmanager
    def silent(self) -> Iterator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def cut(self) -> None:
        """Close every connection."""
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accept_count += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.is_dead:
            client.close()
            return
        with client, suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._target))
            with server:
                self._connections |= {client, server}
                return_thread = threading.Thread(
                    target=self._pass, args=(server, client), daemon=True
                )
                return_thread.start()
                self._pass(client, server)
                return_thread.join()
                self._connections -= {client, server}

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if self.is_dead:
                    break
                if self.delay_s:
                    self._closing.wait(self.delay_s)
                while not self._open.wait(_LOOK_S):
                    pass
                target.sendall(data)
        for connection in (source, target):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
