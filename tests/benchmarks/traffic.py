"""Traffic: bytes through four hops, or interactions that each cause one action."""

import struct
import uuid
from collections.abc import Sequence
from typing import Final

from pipeline.adapters.avro import Codec
from pipeline.model import topics
from pipeline.model.decision import Action, Decision
from pipeline.model.interaction import Context, Identifier, Interaction
from tests.benchmarks.configurations import CATEGORIES

CUSTOMERS: Final = 1_000
"""Number of customers, who return, so that their state is read and changed."""

_HEAD: Final = struct.Struct(">16sI")
_PADDING: Final = b"x" * 200
_CITIES: Final = ("Madrid", "Sevilla", "Valencia", "Bilbao")


class HopTraffic:
    """Traffic of 220 bytes under one of 1,000 keys, from topic `<prefix>.t0` to `<prefix>.t4`."""

    def __init__(self, prefix: str) -> None:
        self.input = f"{prefix}.t0"
        self.outputs: Sequence[str] = (f"{prefix}.t4",)
        self._run = uuid.uuid4().bytes

    def record(self, index: int, at_ms: int) -> tuple[bytes, bytes]:
        return b"k%d" % (index % CUSTOMERS), _HEAD.pack(self._run, index) + _PADDING

    def index_of(self, value: bytes) -> int | None:
        run, index = _HEAD.unpack_from(value)
        return index if run == self._run else None


class InteractionTraffic:
    """Interactions of customers with three identifiers; campaigns are triggered by `name`."""

    input = topics.INTERACTIONS

    def __init__(
        self, codec: Codec, name: str, channels: Sequence[str], customers: int = CUSTOMERS
    ) -> None:
        self.outputs: Sequence[str] = tuple(topics.actions(channel) for channel in channels)
        self._customers = customers
        self._codec = codec
        self._name = name
        self._run = uuid.uuid4().hex[:12]

    def record(self, index: int, at_ms: int) -> tuple[bytes, bytes]:
        interaction = self.interaction(index, at_ms)
        value = self._codec.encode(self.input, interaction)
        assert value is not None
        return interaction.identifiers[0].key.encode(), value

    def interaction(self, index: int, at_ms: int) -> Interaction:
        customer = f"{self._run}-{index % self._customers}"
        return Interaction(
            event_id=f"{self._run}.{index}",
            kind="track",
            name=self._name,
            channel="web",
            source="bench",
            occurred_at=at_ms,
            received_at=at_ms,
            identifiers=(
                Identifier("customer_id", customer),
                Identifier("email", f"{customer}@example.com"),
                Identifier("cookie", f"{customer}-{index % 2}"),
            ),
            properties={
                "product_id": f"sku-{index % 500}",
                "category": CATEGORIES[index % len(CATEGORIES)],
                "price": 10.0 + index % 90,
                "quantity": 1 + index % 3,
                "platform": "mobile" if index % 2 else "desktop",
                "acquisition_channel": "search",
                "city": _CITIES[index % len(_CITIES)],
                "cart.total": 20.0 + index % 200,
            },
            context=Context(
                ip="203.0.113.7",
                user_agent="Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/128.0",
                url=f"https://shop.example/products/sku-{index % 500}",
                referrer="https://search.example/",
                locale="es-ES",
                timezone="Europe/Madrid",
            ),
        )

    def index_of(self, value: bytes) -> int | None:
        record = self._codec.decode(self.outputs[0], value)
        if not isinstance(record, Action | Decision):
            return None
        run, _, index = record.event_id.partition(".")
        return int(index) if run == self._run else None


class DecidedTraffic(InteractionTraffic):
    """Traffic from interactions to their decisions, with or without an action."""

    def __init__(self, codec: Codec, name: str, customers: int = CUSTOMERS) -> None:
        super().__init__(codec, name, (), customers)
        self.outputs = (topics.DECISIONS,)
