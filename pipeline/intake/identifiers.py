"""Identifiers of a message in the configured namespaces, normalised, the strongest first.

- `userId` and `anonymousId`: in the namespaces that identity.yaml names for them.
- `previousId` of an alias: in whichever of these two namespaces it occurred before
  (`identity/naming.py`).
- `context.externalIds`: in the namespace `type`, unless their `collection` is not `users`.
- `traits.email` and `traits.phone`, but not of group: its traits are the group's.
- `context.traits.email`, `context.traits.phone` and `context.device.id`, of every message.

Invalid values (blocked, empty, of another type) are left out if there is a valid one.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from pipeline.config.compile import Configuration
from pipeline.identity.naming import ambiguous_alias
from pipeline.intake.context import Fields, fields
from pipeline.intake.messages import Kind, SegmentMessage
from pipeline.intake.refusal import Refusal, refuse
from pipeline.model.interaction import Identifier

_EXACT_LIMIT: Final = 2.0**53
"""Bound below which a float is exactly the whole number sent."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """Possible identifier, with the raw `value`.

    `is_implied`: the message does not give it as an id, so that a refusal does not name it.
    """

    field: str
    namespace: str
    value: object
    is_implied: bool = False


def identifiers(
    message: SegmentMessage, kind: Kind, context: Fields, config: Configuration
) -> tuple[Identifier, ...] | Refusal:
    """Return at least one identifier, the strongest first, or the refusal of a message that
    identifies no person. The first one's key becomes the record's key."""
    valid_identifiers: set[Identifier] = set()
    has_person_id = False
    first_refusal: Refusal | None = None
    for claim in _claims(message, kind, context, config):
        text = id_text(claim.value)
        if text is None:
            identifier: Identifier | str = "an id is text or a whole number"
        else:
            identifier = config.identity.normalise(Identifier(claim.namespace, text))
        if isinstance(identifier, Identifier):
            valid_identifiers.add(identifier)
            has_person_id |= claim.field != "previousId"
        elif first_refusal is None and not claim.is_implied:
            first_refusal = refuse(
                "invalid_identifier", claim.field, f"{claim.field}: {identifier}"
            )
    if not has_person_id:
        message_text = "give userId or anonymousId: the message identifies no person"
        return first_refusal or refuse("missing_identifier", "userId", message_text)
    ranked_identifiers = config.identity.rank(valid_identifiers)
    pair = ambiguous_alias(ranked_identifiers, config) if kind == "alias" else ()
    return (*(identifier for identifier in ranked_identifiers if identifier not in pair), *pair)


def id_text(value: object) -> str | None:
    """Return an id as text (42 and 42.0 are `42`); None for a value that is not an id."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT_LIMIT else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | str) else None


def _claims(
    message: SegmentMessage, kind: Kind, context: Fields, config: Configuration
) -> Iterator[_Claim]:
    identity = config.bundle.identity
    if message.user_id is not None:
        yield _Claim("userId", identity.user_id, message.user_id)
    if message.anonymous_id is not None:
        yield _Claim("anonymousId", identity.anonymous_id, message.anonymous_id)
    if kind == "alias":
        yield from _previous_id_claims(message, identity.user_id, identity.anonymous_id)
    external_ids = context.get("externalIds")
    for index, entry in enumerate(external_ids if isinstance(external_ids, list) else ()):
        external_id = fields(entry)
        namespace = external_id.get("type")
        if isinstance(namespace, str) and external_id.get("collection") in (None, "users"):
            yield _Claim(f"context.externalIds.{index}", namespace, external_id.get("id"))
    yield from _implied_claims(message, kind, context, config.identity.ranks.keys())


def _previous_id_claims(
    message: SegmentMessage, user_namespace: str, anonymous_namespace: str
) -> Iterator[_Claim]:
    """Claim the previous id in both namespaces, unless the message's own ids determine its
    namespace.

    The identity stage then chooses between them, by the namespace in which the id occurred.
    """
    previous_id = id_text(message.previous_id)
    if message.previous_id is None or previous_id == id_text(message.user_id):
        return
    if previous_id != id_text(message.anonymous_id):
        yield _Claim("previousId", user_namespace, message.previous_id)
    yield _Claim("previousId", anonymous_namespace, message.previous_id, is_implied=True)


def _implied_claims(
    message: SegmentMessage, kind: Kind, context: Fields, namespaces: Set[str]
) -> Iterator[_Claim]:
    sections: list[tuple[str, Mapping[str, Any]]] = [
        ("context.traits", fields(context.get("traits")))
    ]
    if kind != "group":
        sections.append(("traits", fields(message.traits)))
    for field, traits in sections:
        for name in sorted(namespaces & {"email", "phone"} & traits.keys()):
            yield _Claim(f"{field}.{name}", name, traits[name], is_implied=True)
    device = fields(context.get("device")).get("id")
    if "device" in namespaces and device is not None:
        yield _Claim("context.device.id", "device", device, is_implied=True)
