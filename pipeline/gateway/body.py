"""A request's body: bounded, unpacked and decoded, without trusting any of it."""

import re
import zlib
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from pipeline.gateway import scan
from pipeline.gateway.refusal import Refusal, bad
from pipeline.gateway.surrogates import repaired

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_GZIP_WINDOW: Final = 31
_GZIP: Final = ("gzip", "x-gzip")
"""By both names, as HTTP has it."""

_MAX_MEMBERS: Final = 64
"""Of one gzip body: each costs a copy of what follows it."""

_MANY_COMMAS: Final = 50_000
"""A text with more may have more elements than should be decoded before they are counted."""

_PATH: Final = re.compile(r"`\$\.?(.*)`$")
_OF_ONE_PART: Final = ("not_finite", "invalid_json", "too_deep")
_CONTENT_TYPES: Final = ("", "application/json", "text/plain")
"""Browsers send text/plain where they want no preflight request."""


async def read(request: Request, limit: int) -> bytes | Refusal:
    """The unpacked body, at most `limit` bytes of it ever in memory."""
    refusal = _unsupported(request)
    if refusal is not None:
        return refusal
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        return _too_large(limit)
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            return _too_large(limit)
    body = bytes(received)
    if _encoding(request) in _GZIP:
        return gunzip(body, limit)
    return body


def gunzip(body: bytes, limit: int) -> bytes | Refusal:
    """Unpack every member, no more than `limit` bytes in all, however small the packed form is."""
    plain = bytearray()
    for _ in range(_MAX_MEMBERS):
        unpacker = zlib.decompressobj(_GZIP_WINDOW)
        try:
            plain += unpacker.decompress(body, limit + 1 - len(plain))
        except zlib.error as error:
            return bad("invalid_gzip", "Content-Encoding", f"the body is not gzip: {error}")
        if len(plain) > limit:
            return _too_large(limit)
        if not unpacker.eof:
            return bad("invalid_gzip", "Content-Encoding", "the gzip body ends too early")
        body = unpacker.unused_data
        if not body:
            return bytes(plain)
    message = f"a gzip body may have {_MAX_MEMBERS} members"
    return Refusal(413, "too_many_members", message, "Content-Encoding")


def decode(raw: bytes | msgspec.Raw, decoder: "msgspec.json.Decoder[T]") -> T | Refusal:
    """`raw` as the decoder's record; the refusal names the field at fault.

    msgspec guards its recursion by the interpreter's limit, so that depth ends in an error.
    """
    try:
        return decoder.decode(raw)
    except RecursionError:
        return bad("too_deep", None, "the JSON is nested too deeply")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not isinstance(error, msgspec.ValidationError):
            mended = repaired(bytes(raw))
            if mended != raw:
                return decode(mended, decoder)
        field = scan.not_finite(bytes(raw))
        if field is not None:
            what = f"{field or 'the body'} is not a finite number"
            return bad("not_finite", field or None, what)
        if isinstance(error, msgspec.ValidationError):
            return _invalid(error)
        return bad("invalid_json", None, f"the body is not JSON in UTF-8: {error}")


def decode_parts(
    raw: bytes, decoder: "msgspec.json.Decoder[S]", parts: str, most: int
) -> S | Refusal:
    """As `decode`, for a record whose field `parts` holds raw JSON, of which it may have `most`.

    What is no strict JSON within one part makes the whole text invalid; here it is left to that
    part alone.
    """
    if raw.count(b",") > _MANY_COMMAS:
        split = scan.elements(raw, parts, most)
        if split is not None and len(split.parts) > most:
            return too_many(parts, most)
    result = decode(raw, decoder)
    if isinstance(result, Refusal) and result.code in _OF_ONE_PART:
        result = _decode_split(raw, decoder, parts, most) or result
    if not isinstance(result, Refusal) and len(getattr(result, parts) or ()) > most:
        return too_many(parts, most)
    return result


def too_many(field: str, most: int) -> Refusal:
    """Refuse a list before anything of it is written."""
    message = f"{field} may have {most} items in one request: nothing of it was taken, send fewer"
    return Refusal(413, "too_many_items", message, field)


def _decode_split(
    raw: bytes, decoder: "msgspec.json.Decoder[S]", parts: str, most: int
) -> S | Refusal | None:
    """None where the fault is not within a part."""
    split = scan.elements(raw, parts, most)
    if split is None:
        return None
    if len(split.parts) > most:
        return too_many(parts, most)
    rest = decode(split.rest, decoder)
    if isinstance(rest, Refusal) or getattr(rest, parts):
        return None
    return replace(rest, **{parts: tuple(map(msgspec.Raw, split.parts))})


def _unsupported(request: Request) -> Refusal | None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _CONTENT_TYPES:
        message = f"send application/json, not {kind}"
        return Refusal(415, "unsupported_type", message, "Content-Type")
    encoding = _encoding(request)
    if encoding not in ("", "identity", *_GZIP):
        message = f"send it plain or as gzip, not {encoding}"
        return Refusal(415, "unsupported_encoding", message, "Content-Encoding")
    return None


def _encoding(request: Request) -> str:
    return request.headers.get("content-encoding", "").strip().lower()


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"the body may have {limit} bytes")


def _invalid(error: msgspec.ValidationError) -> Refusal:
    text = str(error)
    path = _PATH.search(text)
    field = path[1] if path else None
    return bad("invalid_field", field or None, text.replace("`", "").partition(" - at ")[0])
