"""Connections that send nothing, too slowly, or too much, on a real server."""

import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from pipeline.gateway.connections import ConnectionLimits
from tests.support.served import KEY, serving

LIMITS = ConnectionLimits(
    max_connections=20,
    max_per_address=20,
    header_bytes=16_384,
    header_s=0.5,
    body_s=0.5,
    idle_s=0.5,
    answer_s=30,
)
PATIENT_LIMITS = replace(LIMITS, header_s=60, body_s=60, idle_s=60)
_BODY = b'{"event": "Viewed", "anonymousId": "me"}'
_AUTH = b"authorization: basic " + b64encode(KEY.encode() + b":") + b"\r\n"


@contextmanager
def connect(port: int, *texts: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for text in texts:
            connection.sendall(text)
        yield connection


def read_answer(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes the connection."""
    text = b""
    try:
        while part := connection.recv(65_536):
            text += part
    except ConnectionResetError:
        pass
    return text


def track(port: int) -> int:
    return httpx.post(
        f"http://127.0.0.1:{port}/v1/track", content=_BODY, auth=(KEY, ""), timeout=30
    ).status_code


def request_head(body_bytes: int) -> bytes:
    return b"POST /v1/track HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n" % (
        _AUTH,
        body_bytes,
    )


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([], b""),
        ([b"\r\n"] * 5, b""),
        ([b"POST /v1/track HTT"], b"408"),
        ([b"GET /healthz HTTP/1.1\r\nhost: x\r\n"], b"408"),
        ([request_head(100)], b"408"),
        ([request_head(100), b'{"event"'], b"408"),
        ([b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"], b"408"),
    ],
    ids=["nothing", "blank lines", "line", "header", "no body", "some body", "no key"],
)
def test_half_open_request_is_closed(tmp_path: Path, parts: list[bytes], status: bytes) -> None:
    with serving(tmp_path, LIMITS) as port, connect(port, *parts) as connection:
        text = read_answer(connection)
        assert text.startswith(b"HTTP/1.1 " + status) if status else text == b""
        assert not status or b'{"error":{"code":"timeout"' in text


def test_idle_connection_is_closed_and_used_connection_is_kept(tmp_path: Path) -> None:
    request = request_head(len(_BODY)) + _BODY
    # The limit is longer than a busy machine takes between two requests.
    limits = replace(PATIENT_LIMITS, idle_s=2)
    with serving(tmp_path, limits) as port, connect(port) as connection:
        for _ in range(3):
            connection.sendall(request)
            text = b""
            while not text.endswith(b"}"):
                text += connection.recv(65_536)
            assert text.startswith(b"HTTP/1.1 200")
        connection.sendall(b"\r\n")
        assert read_answer(connection) == b""


def test_slow_bytes_do_not_prolong_a_request(tmp_path: Path) -> None:
    with serving(tmp_path, LIMITS) as port, connect(port, request_head(10_000)) as connection:
        connection.settimeout(0.1)
        text = b""
        for _ in range(200):
            try:
                connection.sendall(b" ")
                text += connection.recv(65_536) or b"closed"
            except TimeoutError:
                continue
            except OSError:
                text += b"closed"
            if text.endswith(b"closed"):
                break
        assert text.endswith(b"closed")


_HUGE_PART = b"x" * 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        b"GET /" + _HUGE_PART,
        b"GET / HTTP/1.1\r\n" + _HUGE_PART,
        b"GET / HTTP/1.1\r\na: " + _HUGE_PART,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200_000,
        b"POST /v1/track HTTP/1.1\r\nhost: x\r\n%btransfer-encoding: chunked\r\n\r\n0\r\na: "
        % _AUTH
        + _HUGE_PART,
        b"POST /v1/track HTTP/1.1\r\nhost: x\r\n%btransfer-encoding: chunked\r\n\r\n1;" % _AUTH
        + _HUGE_PART,
    ],
    ids=["url", "name", "value", "many", "trailer", "chunk extension"],
)
def test_huge_header_is_refused(tmp_path: Path, text: bytes) -> None:
    with serving(tmp_path, PATIENT_LIMITS) as port, connect(port) as connection:
        with suppress(OSError):
            for offset in range(0, len(text), 8_192):
                connection.send(text[offset : offset + 8_192])
        answer = read_answer(connection)
        assert not answer or b"431" in answer or b"400" in answer
        assert track(port) == 200


def test_bytes_that_are_not_http_are_refused_in_json(tmp_path: Path) -> None:
    with serving(tmp_path, PATIENT_LIMITS) as port:
        for text in (b"\x16\x03\x01 TLS?\r\n\r\n", b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n"):
            with connect(port, text) as connection:
                response = read_answer(connection)
            assert response.startswith(b"HTTP/1.1 400")
            assert b'{"error":{"code":"invalid_http"' in response


@pytest.mark.parametrize(
    "limits",
    [
        replace(PATIENT_LIMITS, max_per_address=1_000),
        replace(PATIENT_LIMITS, max_connections=1_000),
    ],
)
@pytest.mark.parametrize(
    "text",
    [b"", b"POST /v1/tr", request_head(100), request_head(100) + b"{"],
    ids=["idle", "line", "head", "body"],
)
def test_half_open_connections_block_no_other_sender(
    tmp_path: Path, text: bytes, limits: ConnectionLimits
) -> None:
    with serving(tmp_path, limits) as port, ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connect(port, text))
        assert [track(port) for _ in range(5)] == [200] * 5


def test_few_descriptors_are_enough_for_active_senders(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.served", str(tmp_path), "100"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port, capacity = map(int, server.stdout.readline().split())
        assert capacity < 60
        with ExitStack() as stack:
            for _ in range(90):
                stack.enter_context(connect(port, b"POST /v1/tr"))
            assert [track(port) for _ in range(5)] == [200] * 5
        assert server.stdin is not None
        server.stdin.close()
