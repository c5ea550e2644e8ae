"""A proxy on the loopback that cuts connections."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

_PIECE = 16_384


@contextmanager
def cutting_proxy(port: int, max_bytes: Callable[[], int | None]) -> Iterator[int]:
    """Provide a port that leads to `port`, and cut each connection after as many bytes of the
    server as `max_bytes` returns for it; None: never."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threading.Thread(target=_accept, args=(listener, port, max_bytes), daemon=True).start()
        yield listener.getsockname()[1]
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, port: int, max_bytes: Callable[[], int | None]) -> None:
    while True:
        try:
            inner, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(inner, port, max_bytes()), daemon=True).start()


def _serve(inner: socket.socket, port: int, max_bytes: int | None) -> None:
    with inner, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as outer:
        forward = threading.Thread(target=_pump, args=(inner, outer, None), daemon=True)
        forward.start()
        _pump(outer, inner, max_bytes)
        for connection in (inner, outer):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket, max_bytes: int | None) -> None:
    byte_count = 0
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
            byte_count += len(piece)
            if max_bytes is not None and byte_count > max_bytes:
                return
