"""Restriction of public sources to their device's identifiers, or a customer's with a proof."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias

from pipeline.config.compile import Configuration
from pipeline.config.source_restrictions import SourceRestriction
from pipeline.intake.refusal import Refusal, refuse_unavailable
from pipeline.model.interaction import Identifier

Identifiers: TypeAlias = tuple[Identifier, ...]

_FIELD: Final = "context.proof"


@dataclass(frozen=True, slots=True)
class Speaker:
    """Public source, whose messages count for the device that sends them.

    `secret` is the value from the environment, if it is set; `on_unproven` is called for each
    message with unproven identifiers.
    """

    restriction: SourceRestriction
    secret: str | None
    config: Configuration
    on_unproven: Callable[[], None]

    def restrict(
        self, identifiers: Identifiers, user_id: str | None, given_proof: object
    ) -> Identifiers | Refusal:
        """Return the identifiers that this source may use; `given_proof` is the message's proof.

        The other identifiers are left out, so that the message counts for the device.
        """
        proven_id = None
        if given_proof is not None and user_id is not None:
            proven_id = self._prove(user_id, given_proof)
        if isinstance(proven_id, Refusal):
            return proven_id
        usable_identifiers = tuple(
            identifier
            for identifier in identifiers
            if identifier.namespace in self.restriction.asserts or identifier == proven_id
        )
        if usable_identifiers == identifiers:
            return identifiers
        self.on_unproven()
        message = (
            "the key is a public one: give anonymousId, or the proof of userId in context.proof"
        )
        return usable_identifiers or Refusal(403, "proof_required", message, "userId")

    def _prove(self, user_id: str, given_proof: object) -> Identifier | Refusal | None:
        """Check the proof, and return the user id as an identifier; None for an invalid user id."""
        if self.restriction.secret is None:
            message = "the source has no `secret` in sources.yaml to check the proof with"
            return Refusal(403, "invalid_proof", message, _FIELD)
        if not self.secret:
            return refuse_unavailable(f"the gateway's environment has no {self.restriction.secret}")
        claim = Identifier(self.config.bundle.identity.user_id, user_id)
        normal_identifier = self.config.identity.normalise(claim)
        if not isinstance(normal_identifier, Identifier):
            return None
        digest = str(given_proof).strip().lower().encode(errors="replace")
        for text in (user_id, normal_identifier.value):
            if hmac.compare_digest(digest, proof(self.secret, text).encode()):
                return normal_identifier
        message = (
            "the proof is not the hexadecimal HMAC-SHA256 of this userId by the source's secret"
        )
        return Refusal(403, "invalid_proof", message, _FIELD)


def proof(secret: str, user_id: str) -> str:
    """Return the proof of a user id, which the customer's own server computes."""
    return hmac.new(secret.encode(), user_id.encode(errors="replace"), sha256).hexdigest()
