"""Outcome tokens, by which a channel reports outcomes of its own actions only."""

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode
from msgspec import DecodeError, Struct, json

from pipeline.model.interaction import Identifier

_SALT = "kairos.outcome"


class Claims(Struct, frozen=True, array_like=True):
    """Claims of a token: enough to send the outcome to the right profile's history.

    `at` (epoch ms): time of the decision, which bounds the token's validity.
    """

    action_id: str
    decision_id: str
    identifier: Identifier
    channel: str
    campaign: str
    offer: str
    treatment: str
    at: int = 0


class TokenKey:
    """Key that signs and checks tokens; the same claims give the same token."""

    def __init__(self, secret: str) -> None:
        self._signer = Signer(secret, salt=_SALT)

    def sign(self, claims: Claims) -> str:
        return self._signer.sign(base64_encode(json.encode(claims))).decode()

    def verify(self, token: str) -> Claims | None:
        """Return the claims of the token; None if the signature or the form is wrong."""
        try:
            return json.decode(base64_decode(self._signer.unsign(token)), type=Claims)
        except (BadData, DecodeError):
            return None
