"""Access by key: write keys send, server keys read and erase."""

from base64 import b64decode
from hmac import compare_digest
from typing import Final

from starlette.requests import Request

from pipeline.config.compile import Configuration
from pipeline.config.model import ADAPTERS, Source
from pipeline.intake.refusal import Refusal

_CHALLENGE: Final = (("WWW-Authenticate", 'Basic realm="kairos"'),)


def key_in_header(request: Request) -> str | Refusal | None:
    """Return the key, from Basic (as user name, as Segment does) or Bearer; None without either."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() != "basic":
        return _deny("Authorization must be Basic with the key as user name, or Bearer")
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[0]
    except ValueError:
        return _deny("Authorization: the text after Basic is not base64 of `key:`")


def find_source(key: str | None, config: Configuration, adapter_key: str) -> Source | Refusal:
    """Find the source of a write key; `adapter_key` is the key of Kairos's own adapters."""
    if not key:
        return _deny("give the write key: Basic auth with the key as user name")
    source = config.source_by_key(key)
    if source is None and compare_digest(key.encode(errors="replace"), adapter_key.encode()):
        source = config.source_by_name(ADAPTERS)
    if source is not None:
        return source
    if config.server_key_name(key) is not None:
        return Refusal(403, "read_only_key", "a server key reads; send with a write key")
    return _deny("no source has this write key")


def check_reader(request: Request, config: Configuration) -> Refusal | None:
    """Return the refusal of a request to read or erase; None with a server key."""
    key = key_in_header(request)
    if isinstance(key, Refusal):
        return key
    if not key:
        return _deny("give a server key: Basic auth with the key as user name, or Bearer")
    if config.server_key_name(key) is not None:
        return None
    if config.source_by_key(key) is not None:
        return Refusal(403, "write_only_key", "a write key sends; read with a server key")
    return _deny("no server has this key")


def _deny(message: str) -> Refusal:
    return Refusal(401, "unauthorized", message, "Authorization", _CHALLENGE)
