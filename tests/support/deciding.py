"""Rules made of the values that YAML would have, and decisions by them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pipeline.config.compile import compile_bundle
from pipeline.config.model import Bundle
from pipeline.flow import Flow
from pipeline.model.decision import Action, Candidate, Decision, Reply
from pipeline.model.interaction import Context, DecideRequest, Identifier, Interaction, Scalar
from pipeline.model.outcome import Emit
from pipeline.rules import Rules
from tests.support.worlds import rules

ADA: Final = (Identifier("customer_id", "ada"), Identifier("email", "ada@example.com"))
CHANNELS: Final = (
    {"name": "web", "placements": ["hero", "banner"]},
    {"name": "email", "cost": 0.5},
    {"name": "call", "cost": 4},
)


def world(**parts: Any) -> Rules:
    """Return the rules of a bundle with these parts; a mistake in it fails the test."""
    return rules(bundle(**parts))


def bundle(**parts: Any) -> Bundle:
    """Return a bundle with these parts; each of `traits` has the latest value of its property."""
    traits = [
        {"name": name, "rule": "latest", "of": f"properties.{name}"}
        for name in parts.pop("traits", ())
    ]
    defaults: dict[str, Any] = {
        "sources": {"sources": [{"name": "shop", "channel": "web", "write_key": "write-key-1"}]},
        "identity": {"namespaces": [{"name": n} for n in ("customer_id", "email", "cookie")]},
        "channels": {"channels": list(CHANNELS)},
        "profile": {"traits": traits},
    }
    return msgspec.convert({**defaults, **parts}, Bundle)


def problems(**parts: Any) -> list[tuple[str, str]]:
    """Return the places of a bundle's problems, and their messages."""
    configuration = compile_bundle(bundle(**parts))
    assert isinstance(configuration, tuple), "the bundle is valid"
    return [("/".join(map(str, problem.path)), problem.message) for problem in configuration]


def campaign(name: str, *offers: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    """Return a campaign, triggered by `Go` unless given otherwise."""
    return {"campaign": name, "trigger": {"name": "Go"}, "offers": list(offers), **parts}


def offer(name: str, value: Any, *treatments: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    """Return an offer, with one e-mail unless treatments are given."""
    drafts = treatments or ({"treatment": f"{name}-email", "channel": "email"},)
    return {"offer": name, "value": value, "treatments": list(drafts), **parts}


def hero(name: str, **parts: Any) -> dict[str, Any]:
    """Return a treatment in the placement `hero`."""
    return {"treatment": name, "channel": "web", "placement": "hero", **parts}


class Life:
    """Flow that processes a customer's interactions; `emits`: the outputs of the last one."""

    def __init__(self, world: Rules, identifiers: Sequence[Identifier] = ADA) -> None:
        self.flow = Flow(world)
        self.identifiers = tuple(identifiers)
        self.emits: list[Emit] = []
        self._count = 0

    def interact(
        self,
        name: str,
        at: int,
        /,
        *,
        ask: Iterable[str] | Mapping[str, int] = (),
        identifiers: Sequence[Identifier] | None = None,
        occurred_at: int | None = None,
        zone: str | None = None,
        **properties: Scalar,
    ) -> Decision:
        """Process an interaction, and return the decision on it; `ask`: placements, or the limit of
        each placement."""
        self._count += 1
        placements = tuple(ask)
        limits = dict(ask) if isinstance(ask, Mapping) else {}
        request = DecideRequest(f"r{self._count}", "g", placements, at + 100, limits)
        interaction = Interaction(
            event_id=f"e{self._count}",
            kind="track",
            name=name,
            channel="web",
            source="shop",
            occurred_at=at if occurred_at is None else occurred_at,
            received_at=at,
            identifiers=self.identifiers if identifiers is None else tuple(identifiers),
            properties=properties,
            context=Context(timezone=zone),
            request=request if placements else None,
        )
        return self._run(interaction)

    def react(self, action: Action, outcome: str, at: int) -> Decision:
        """Process a customer's reaction to a message, and return the decision on it."""
        self._count += 1
        interaction = Interaction(
            event_id=f"o{self._count}",
            kind="outcome",
            name=outcome,
            channel=action.channel,
            source="shop",
            occurred_at=at,
            received_at=at,
            identifiers=(action.identifier,),
            properties={"action_id": action.action_id},
        )
        return self._run(interaction)

    def actions(self) -> list[Action]:
        """Return the actions of the last interaction."""
        return [emit.value for emit in self.emits if isinstance(emit.value, Action)]

    def answers(self) -> dict[str, list[str]]:
        """Return the treatments in the reply to the last interaction, by placement."""
        [reply] = [emit.value for emit in self.emits if isinstance(emit.value, Reply)]
        return {
            answer.placement: [action.treatment for action in answer.actions]
            for answer in reply.answers
        }

    def treatments(self) -> list[str]:
        """Return the treatments of the last interaction's actions."""
        return [action.treatment for action in self.actions()]

    def _run(self, interaction: Interaction) -> Decision:
        self.emits = list(self.flow.run(interaction))
        decisions = [emit.value for emit in self.emits if isinstance(emit.value, Decision)]
        assert not self.flow.dead_letters, self.flow.dead_letters
        return next(decision for decision in decisions if decision.event_id == interaction.event_id)


def fates(decision: Decision) -> dict[str, str]:
    """Return the fate of each candidate, by treatment."""
    return {candidate.treatment: candidate.fate for candidate in decision.candidates}


def candidate(decision: Decision, treatment: str) -> Candidate:
    """Return the record of one candidate."""
    return next(candidate for candidate in decision.candidates if candidate.treatment == treatment)


def find_rejecting_rules(decision: Decision) -> dict[str, str]:
    """Return the rule that rejected each treatment."""
    return {name: rule for rule, names in decision.rejected.items() for name in names}
