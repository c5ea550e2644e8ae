"""Shipped providers, PEM of private keys, and parcels with a deadline."""

from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec.structs import replace

from pipeline.adapters import traces
from pipeline.adapters.clock import now_ms
from pipeline.adapters.yaml_text import EVERY_FIELD, Document, read_yaml
from pipeline.config.model.providers import Provider
from pipeline.delivery.channel_adapter import Parcel
from pipeline.model.decision import Action

_PROVIDERS: Final = Path(__file__).parents[2] / "deploy" / "providers"


def shipped_provider(name: str) -> Provider:
    """Return the provider of a file in deploy/providers."""
    document = read_yaml((_PROVIDERS / f"{name}.yaml").read_text(), {}, (EVERY_FIELD,))
    assert isinstance(document, Document)
    return msgspec.convert(document.value, Provider)


def to_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """Return a private key as unencrypted PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def expiring_parcel(action: Action, seconds: float, **changes: Any) -> Parcel:
    """Return a parcel of the changed action, created now, whose deadline is `seconds` from now."""
    created_at = now_ms()
    deadline_at = created_at + round(seconds * 1_000)
    action = replace(action, created_at=created_at, deadline_at=deadline_at, **changes)
    return Parcel(action, created_at, traces.new_trace())
