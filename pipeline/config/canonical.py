"""Canonical JSON of a bundle, so that equal configurations have equal digests.

Keys are sorted, without spaces, and fields with their default value omitted.
"""

import hashlib
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo, fields

from pipeline.config.model import Bundle

DIGEST_LENGTH: Final = 16
"""Number of hexadecimal digits of the SHA-256 that name a configuration in every record."""

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Bundle)


def to_json(bundle: Bundle) -> str:
    """Return canonical JSON. Raises ValueError when a bundle breaks the rules of its classes."""
    typed_bundle = _decoder.decode(_encoder.encode(bundle))
    return _encoder.encode(explicit_fields(typed_bundle)).decode()


def from_json(body: str) -> Bundle:
    """Decode canonical JSON. Raises ValueError when `body` is not a bundle."""
    return _decoder.decode(body)


def digest_of(body: str) -> str:
    """Return the name of the configuration whose canonical JSON is `body`."""
    return hashlib.sha256(body.encode()).hexdigest()[:DIGEST_LENGTH]


def explicit_fields(part: Struct) -> dict[str, object]:
    """Return the fields of `part`, nested ones included, that differ from their defaults."""
    values = {
        field.encode_name: (getattr(part, field.name), _default(field)) for field in fields(part)
    }
    return {
        name: _plain_value(value) for name, (value, default) in values.items() if value != default
    }


def _plain_value(value: object) -> object:
    if isinstance(value, Struct):
        return explicit_fields(value)
    if isinstance(value, tuple | list):
        return [_plain_value(part) for part in value]
    return value


def _default(field: FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default
