"""A request's body: bounded, unpacked and decoded, without trusting any of it."""

import json
import re
import zlib
from math import isfinite
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from pipeline.gateway.refusal import Refusal, bad

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_GZIP_WINDOW: Final = 31
_PATH: Final = re.compile(r"`\$\.?(.*)`$")
_CONTENT_TYPES: Final = ("", "application/json", "text/plain")
"""Browsers send text/plain where they want no preflight request."""


async def read(request: Request, limit: int) -> bytes | Refusal:
    """The unpacked body, at most `limit` bytes of it ever in memory."""
    refusal = _unsupported(request)
    if refusal is not None:
        return refusal
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        return _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            return _too_large(limit)
        chunks.append(chunk)
    body = b"".join(chunks)
    if request.headers.get("content-encoding", "identity") == "gzip":
        return gunzip(body, limit)
    return body


def gunzip(body: bytes, limit: int) -> bytes | Refusal:
    """Unpacks no more than `limit` bytes, however small the packed form is."""
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        return bad("invalid_gzip", "Content-Encoding", f"the body is not gzip: {error}")
    if len(plain) > limit:
        return _too_large(limit)
    if not unpacker.eof:
        return bad("invalid_gzip", "Content-Encoding", "the gzip body ends too early")
    return plain


def decode(raw: bytes | msgspec.Raw, decoder: "msgspec.json.Decoder[T]") -> T | Refusal:
    """`raw` as the decoder's record; the refusal names the field at fault.

    msgspec guards its recursion by the interpreter's limit, so that depth ends in an error.
    """
    try:
        return decoder.decode(raw)
    except RecursionError:
        return bad("too_deep", None, "the JSON is nested too deeply")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        field = not_finite(bytes(raw))
        if field is not None:
            return bad("not_finite", field, f"{field} is not a finite number")
        if isinstance(error, msgspec.ValidationError):
            return _invalid(error)
        return bad("invalid_json", None, f"the body is not JSON in UTF-8: {error}")


def decode_parts(raw: bytes, decoder: "msgspec.json.Decoder[S]", parts: str) -> S | Refusal:
    """As `decode`, for a record whose field `parts` holds raw JSON.

    A NaN within one part makes the whole text invalid; here it is left to that part alone.
    """
    result = decode(raw, decoder)
    if not isinstance(result, Refusal) or result.code != "not_finite":
        return result
    envelope = _lenient(raw)
    if not isinstance(envelope, dict) or not isinstance(envelope.get(parts), list):
        return result
    split = tuple(msgspec.Raw(json.dumps(one).encode()) for one in envelope[parts])
    rest = decode(json.dumps({**envelope, parts: []}).encode(), decoder)
    return rest if isinstance(rest, Refusal) else replace(rest, **{parts: split})


def not_finite(raw: bytes) -> str | None:
    """The dotted name of the first NaN or infinite number, which strict JSON has not."""
    todo = [("", _lenient(raw))]
    while todo:
        name, value = todo.pop()
        if isinstance(value, float) and not isfinite(value):
            return name
        if isinstance(value, dict):
            todo.extend((f"{name}.{key}".lstrip("."), inner) for key, inner in value.items())
        elif isinstance(value, list):
            todo.extend((f"{name}.{index}", inner) for index, inner in enumerate(value))
    return None


def _lenient(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _unsupported(request: Request) -> Refusal | None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _CONTENT_TYPES:
        message = f"send application/json, not {kind}"
        return Refusal(415, "unsupported_type", message, "Content-Type")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding not in ("identity", "gzip"):
        message = f"send it plain or as gzip, not {encoding}"
        return Refusal(415, "unsupported_encoding", message, "Content-Encoding")
    return None


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"the body may have {limit} bytes")


def _invalid(error: msgspec.ValidationError) -> Refusal:
    text = str(error)
    path = _PATH.search(text)
    field = path[1] if path else None
    return bad("invalid_field", field or None, text.replace("`", "").partition(" - at ")[0])
