"""Who a message is about: its ids in the configured namespaces, normalised, the strongest first."""

from collections.abc import Iterator, Set
from dataclasses import dataclass

from pipeline.config.compile import Configuration
from pipeline.gateway.messages import Message, MessageContext
from pipeline.gateway.refusal import Refusal, bad
from pipeline.model.interaction import Identifier

_NOBODY = MessageContext()


@dataclass(frozen=True, slots=True)
class _Claim:
    """`implied` ones were not given as ids as such: where unusable they are no fault."""

    field: str
    namespace: str
    value: str
    implied: bool = False


def identifiers(message: Message, config: Configuration) -> tuple[Identifier, ...] | Refusal:
    """At least one; the first is the strongest, whose key is the record's."""
    found: set[Identifier] = set()
    for claim in _claims(message, config):
        normal = config.identity.normalise(Identifier(claim.namespace, claim.value))
        if isinstance(normal, Identifier):
            found.add(normal)
        elif not claim.implied:
            return bad("invalid_identifier", claim.field, f"{claim.field}: {normal}")
    if not found:
        message_text = "give userId or anonymousId: the message names nobody"
        return bad("missing_identifier", "userId", message_text)
    return config.identity.ranked(found)


def _claims(message: Message, config: Configuration) -> Iterator[_Claim]:
    identity = config.bundle.identity
    context = message.context or _NOBODY
    named = (
        ("userId", identity.user_id, message.user_id),
        ("anonymousId", identity.anonymous_id, message.anonymous_id),
        ("previousId", identity.user_id, message.previous_id),
    )
    for field, namespace, value in named:
        if value is not None:
            yield _Claim(field, namespace, str(value))
    if message.previous_id is not None:
        previous = str(message.previous_id)
        yield _Claim("previousId", identity.anonymous_id, previous, implied=True)
    for index, external in enumerate(context.external_ids or ()):
        yield _Claim(f"context.externalIds.{index}", external.type, str(external.id))
    yield from _implied(message, context, config.identity.ranks.keys())


def _implied(message: Message, context: MessageContext, known: Set[str]) -> Iterator[_Claim]:
    for traits in (message.traits or {}, context.traits or {}):
        for name in known & {"email", "phone"} & traits.keys():
            yield _Claim(f"traits.{name}", name, str(traits[name] or ""), implied=True)
    if "device" in known and context.device and context.device.id is not None:
        yield _Claim("context.device.id", "device", str(context.device.id), implied=True)
