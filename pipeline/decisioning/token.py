"""Outcome tokens: a channel reports what became of an action without being able to invent one."""

from itsdangerous import BadSignature, URLSafeSerializer
from msgspec import Struct, ValidationError, convert, to_builtins

from pipeline.model.interaction import Identifier

_SALT = "kairos.outcome"


class Claims(Struct, frozen=True, array_like=True):
    """What a token vouches for: enough to send the outcome to the right profile's history."""

    action_id: str
    decision_id: str
    identifier: Identifier
    channel: str
    campaign: str
    offer: str
    treatment: str


class TokenKey:
    """Signs and checks with one secret; the same claims give the same token."""

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeSerializer(secret, salt=_SALT)

    def sign(self, claims: Claims) -> str:
        return str(self._serializer.dumps(to_builtins(claims)))

    def verify(self, token: str) -> Claims | None:
        """None when the signature or the form is wrong."""
        try:
            return convert(self._serializer.loads(token), Claims)
        except (BadSignature, ValidationError):
            return None
