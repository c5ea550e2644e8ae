"""Request bodies, unpacked within a bound on their size."""

import zlib
from typing import Final

from starlette.requests import Request

from pipeline.intake.refusal import Refusal, refuse

_GZIP_WINDOW: Final = 31
_GZIP: Final = ("gzip", "x-gzip")
"""Both names of gzip in HTTP."""

_MAX_MEMBERS: Final = 64
"""Maximum number of members in a gzip body, since unpacking each copies all bytes after it."""

_CONTENT_TYPES: Final = ("", "application/json", "text/plain")
"""Accepted content types; browsers send text/plain to avoid a preflight request."""


async def read(request: Request, limit: int) -> bytes | Refusal:
    """Read and unpack the body, holding at most `limit` bytes of it in memory."""
    refusal = _check_headers(request)
    if refusal is not None:
        return refusal
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        return _too_large(limit)
    buffer = bytearray()
    async for chunk in request.stream():
        buffer += chunk
        if len(buffer) > limit:
            return _too_large(limit)
    body = bytes(buffer)
    if _content_encoding(request) in _GZIP:
        return gunzip(body, limit)
    return body


def gunzip(body: bytes, limit: int) -> bytes | Refusal:
    """Unpack every member, up to `limit` bytes in total."""
    content = bytearray()
    for _ in range(_MAX_MEMBERS):
        unpacker = zlib.decompressobj(_GZIP_WINDOW)
        try:
            content += unpacker.decompress(body, limit + 1 - len(content))
        except zlib.error as error:
            return refuse("invalid_gzip", "Content-Encoding", f"the body is not gzip: {error}")
        if len(content) > limit:
            return _too_large(limit)
        if not unpacker.eof:
            return refuse("invalid_gzip", "Content-Encoding", "the gzip body ends too early")
        body = unpacker.unused_data
        if not body:
            return bytes(content)
    message = f"a gzip body may have {_MAX_MEMBERS} members"
    return Refusal(413, "too_many_members", message, "Content-Encoding")


def _check_headers(request: Request) -> Refusal | None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _CONTENT_TYPES:
        message = f"send application/json, not {kind}"
        return Refusal(415, "unsupported_type", message, "Content-Type")
    encoding = _content_encoding(request)
    if encoding not in ("", "identity", *_GZIP):
        message = f"send it plain or as gzip, not {encoding}"
        return Refusal(415, "unsupported_encoding", message, "Content-Encoding")
    return None


def _content_encoding(request: Request) -> str:
    return request.headers.get("content-encoding", "").strip().lower()


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"the body may have {limit} bytes")
