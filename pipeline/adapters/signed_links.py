"""Signed links of messages, whose content is readable but cannot be forged."""

from typing import Final, Generic, Literal, TypeVar

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode
from msgspec import DecodeError, Struct, json

from pipeline.model.interaction import Identifier

Purpose = Literal["marketing", "service", "transactional"]

PREFERENCES_PATH: Final = "/v1/unsubscribe"
CLICK_PATH: Final = "/v1/click"
OPEN_PATH: Final = "/v1/open"
PROVIDERS_PATH: Final = "/v1/providers"


class PreferenceLink(Struct, frozen=True, array_like=True):
    """Right to change the consent of one customer to messages of a channel and purpose."""

    identifier: Identifier
    channel: str
    purpose: Purpose
    campaign: str
    action_id: str


class TrackedLink(Struct, frozen=True, array_like=True):
    """Outcome token of a link's message, and the link's target URL.

    `sent_at` (epoch ms): time of sending; clicks within seconds of it are those of mail scanners.
    """

    token: str
    url: str
    sent_at: int


class CallbackLink(Struct, frozen=True, array_like=True):
    """Outcome token of the message whose status a provider posts."""

    token: str


L = TypeVar("L", bound=Struct)


class LinkSigner(Generic[L]):
    """Signer of one kind of link; the kind is part of the signature."""

    def __init__(self, secret: str, kind: type[L]) -> None:
        self._signer = Signer(secret, salt=f"kairos.{kind.__name__}")
        self._decoder = json.Decoder(kind)

    def sign(self, link: L) -> str:
        """Return the link's text for a URL."""
        return self._signer.sign(base64_encode(json.encode(link))).decode()

    def verify(self, text: str) -> L | None:
        """Return the link; None if its signature or form is invalid."""
        try:
            return self._decoder.decode(base64_decode(self._signer.unsign(text)))
        except (BadData, DecodeError, UnicodeEncodeError):
            return None


class MessageLinks:
    """Signers of every kind of link in messages, with one secret."""

    def __init__(self, secret: str) -> None:
        self.preferences = LinkSigner(secret, PreferenceLink)
        self.tracking = LinkSigner(secret, TrackedLink)
        self.callbacks = LinkSigner(secret, CallbackLink)
