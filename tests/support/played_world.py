"""Records in the form that `kairos replay` writes, and a world of customers who react by known
chances."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import pyarrow.parquet as pq
from confluent_kafka import Message

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.flow import Flow
from pipeline.model import topics
from pipeline.model.decision import Action, Decision
from pipeline.model.interaction import DecideRequest, Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.stages import Segmented
from pipeline.model.time import DAY_MS
from pipeline.replay.manifest import Selection
from pipeline.replay.topic_tables import DayTables
from pipeline.rules import Rules
from tests.support.deciding import campaign, hero, offer, world

_CODEC = Codec(recorded_versions())
START_MS = 1_700_000_000_000
GOAL_CHANCES = {("gold", "card"): 0.5, ("gold", "loan"): 0.1, ("plain", "card"): 0.05}
GOAL_CHANCES["plain", "loan"] = 0.3


def write(folder: Path, topic: str, records: Iterable[msgspec.Struct]) -> Path:
    """Write the records as a replay of `topic`, and return its folder."""
    messages = [
        Message(topic, 0, offset, b"key", _CODEC.encode(topic, record), timestamp=(2, START_MS))  # type: ignore[call-arg, arg-type, misc]
        for offset, record in enumerate(records)
    ]
    for day, table in DayTables(Selection(topic), _CODEC).split(messages):
        place = folder / f"day={day}"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, place / f"part-00000-000000000000-{len(messages):012}.parquet")
    return folder


class ReplayFolders(NamedTuple):
    """Folders of replayed decisions, and of the records that they were made on."""

    decisions: Path
    segmented: Path


def write_world(world: "PlayedWorld", folder: Path) -> ReplayFolders:
    """Write the decisions and the records that they were made on; return their folders."""
    return ReplayFolders(
        write(folder / "decisions", topics.DECISIONS, world.decisions),
        write(folder / "segmented", topics.SEGMENTED, world.segmented),
    )


def bank(**parts: Any) -> Rules:
    """Return the rules of a placement with two offers; one is worth more where `odd` is true."""
    offers = [offer(name, 10, hero(f"{name}-hero")) for name in ("card", "loan")]
    policies = {
        "weights": [
            {
                "weight": "odd",
                "factor": 2,
                "when": {"property": "odd", "is": True},
                "for": {"offer": "loan"},
            },
            {"weight": "tier", "factor": 1, "when": {"trait": "tier", "is": "gold"}},
            {"weight": "age", "factor": 1, "when": {"trait": "age", "gt": 1}},
            {"weight": "bought", "factor": 1, "when": {"trait": "bought", "gt": 0}},
        ]
    }
    defaults: dict[str, Any] = {
        "traits": ["tier", "age", "bought"],
        "campaigns": [campaign("c", *offers, trigger=None)],
        "policies": policies,
    }
    return world(**{**defaults, **parts})


class PlayedWorld:
    """Customers who visit the placement daily and reach the goal by known chances, after which they
    have the trait `bought`."""

    def __init__(
        self,
        rules: Rules,
        customers: int,
        days: int,
        chances: Mapping[tuple[str, str], float] = GOAL_CHANCES,
    ) -> None:
        self.flow = Flow(rules)
        self.decisions: list[Decision] = []
        self.segmented: list[Segmented] = []
        self._random = Random(1)
        self._chances = chances
        self._count = 0
        for day in range(days):
            for number in range(customers):
                self._visit(number, START_MS + day * DAY_MS + number * 1000)

    def _visit(self, number: int, at: int) -> None:
        tier = "gold" if number % 2 else "plain"
        actions = self.interact(
            number,
            at,
            "page",
            {"tier": tier, "age": 20 + number % 50, "odd": self._random.random() < 0.5},
        )
        for action in actions:
            is_reached = self._random.random() < self._chances[tier, action.offer]
            outcomes = ("impression", "conversion") if is_reached else ("impression",)
            for place, outcome in enumerate(outcomes, 1):
                reference: dict[str, Any] = {"action_id": action.action_id}
                self.interact(number, at + place * 100, outcome, reference, kind="outcome")
            if is_reached:
                self.interact(number, at + 500, "Bought", {"bought": 1})

    def interact(
        self, number: int, at: int, name: str, properties: dict[str, Any], kind: Any = "track"
    ) -> list[Action]:
        """Process an interaction of a customer, and return the actions that follow."""
        self._count += 1
        request = DecideRequest(f"r{self._count}", "g", ("hero",), at + 100)
        interaction = Interaction(
            event_id=f"e{self._count}",
            kind=kind,
            name=name,
            channel="web",
            source="shop",
            occurred_at=at,
            received_at=at,
            identifiers=(Identifier("customer_id", f"c{number}"),),
            properties=properties,
            request=request if name == "page" else None,
        )
        return [action for emit in self.flow.run(interaction) for action in self._record(emit)]

    def advance(self, now_ms: int) -> list[Action]:
        """Let time pass up to `now_ms`, and return the actions that follow."""
        return [action for emit in self.flow.advance(now_ms) for action in self._record(emit)]

    def _record(self, emit: Emit) -> list[Action]:
        match emit.value:
            case Decision() as decision:
                self.decisions.append(decision)
            case Segmented(interaction=Interaction()) as record:
                self.segmented.append(record)
            case Action() as action:
                return [action]
        return []
