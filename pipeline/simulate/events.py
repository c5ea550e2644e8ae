"""Events of the world, as lines of a file and as messages to the gateway."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from pipeline.model.interaction import Identifier, Interaction, Kind, Scalar

SOURCES: Final = {
    "web": "bank-web",
    "app": "bank-app",
    "pos": "bank-pos",
    "branch": "bank-branch",
    "call": "call-centre",
    "email": "outreach",
    "api": "core-banking",
}
"""Source of each channel's events; deploy/bank/sources.yaml has them all."""

_TRAIT_NAMESPACES: Final = ("email", "phone")


class WorldEvent(Struct, frozen=True):
    """Event of the world. `at`: epoch ms; `person`: the customer's index. `placement`: set if an
    answer is requested. `identifiers`: as sent, the strongest first."""

    at: int
    person: int
    event_id: str
    kind: Kind
    name: str
    channel: str
    identifiers: tuple[Identifier, ...]
    properties: dict[str, Scalar]
    placement: str | None = None

    def interaction(self) -> Interaction:
        """Return the event in the form of the topic, received at its occurrence."""
        return Interaction(
            event_id=self.event_id,
            kind=self.kind,
            name=self.name,
            channel=self.channel,
            source=SOURCES[self.channel],
            occurred_at=self.at,
            received_at=self.at,
            identifiers=self.identifiers,
            properties=self.properties,
        )

    def message(self, message_id: str) -> dict[str, Any]:
        """Return the event as a message in Segment's format that happens now."""
        values = {identifier.namespace: identifier.value for identifier in self.identifiers}
        traits = {key: values[key] for key in _TRAIT_NAMESPACES if key in values}
        context: dict[str, Any] = {"traits": traits}
        if "device" in values:
            context["device"] = {"id": values["device"]}
        if "card" in values:
            context["externalIds"] = [{"type": "card", "id": values["card"], "collection": "users"}]
        message: dict[str, Any] = {"type": self.kind, "messageId": message_id, "context": context}
        if "customer_id" in values:
            message["userId"] = values["customer_id"]
        if "cookie" in values:
            message["anonymousId"] = values["cookie"]
        if self.kind == "track":
            message["event"] = self.name
        elif self.kind in ("page", "screen"):
            message["name"] = self.name
        message["traits" if self.kind == "identify" else "properties"] = self.properties
        return message


_LINE_ENCODER: Final = msgspec.json.Encoder()


def line(event: WorldEvent) -> bytes:
    """Return the event as a line of `interactions.ndjson`, without a line break."""
    interaction = event.interaction()
    return _LINE_ENCODER.encode(
        {
            "event_id": interaction.event_id,
            "kind": interaction.kind,
            "name": interaction.name,
            "channel": interaction.channel,
            "source": interaction.source,
            "occurred_at": interaction.occurred_at,
            "received_at": interaction.received_at,
            "identifiers": interaction.identifiers,
            "properties": interaction.properties,
        }
    )
