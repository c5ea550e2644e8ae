"""`/v1/outcomes`: outcomes of actions, as interactions of their customers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters import traces
from pipeline.config.model import ADAPTERS
from pipeline.decisioning.history import RELEASING_OUTCOMES
from pipeline.gateway.collect import ValidatedMessage, write_and_answer
from pipeline.gateway.gateway import Gateway, trace_of
from pipeline.gateway.request_intake import receive
from pipeline.intake.decoding import decode, decode_parts
from pipeline.intake.draft import Draft
from pipeline.intake.flatten import Flat, flatten
from pipeline.intake.messages import (
    OUTCOME_DECODER,
    OUTCOMES_DECODER,
    OutcomeBody,
    OutcomeName,
    Outcomes,
)
from pipeline.intake.refusal import Refusal, refuse
from pipeline.intake.segment_api import Arrival, message_id
from pipeline.model.decision import Action
from pipeline.model.ids import outcome_id
from pipeline.model.interaction import Context, Interaction, Scalar
from pipeline.model.time import HOUR_MS
from pipeline.rules.token import Claims, TokenKey

OWN_SOURCE: Final = "kairos"
"""Source of outcomes that Kairos itself reports, or that arrive by its signed links."""


@dataclass(frozen=True, slots=True)
class _OutcomeIntake:
    """Common circumstances of the outcomes of one request; `token_ms`: maximum age of a token."""

    envelope: Outcomes
    arrival: Arrival
    tokens: TokenKey
    token_ms: int


async def accept_outcomes(gateway: Gateway, request: Request) -> Response | Refusal:
    """Accept one outcome, or the valid ones of several under `outcomes`."""
    parse = partial(_envelope, max_items=gateway.limits.max_items)
    post = await receive(gateway, request, gateway.limits.batch_bytes, parse)
    if isinstance(post, Refusal):
        return post
    envelope = post.body
    if not envelope.outcomes:
        return refuse("missing_field", "outcomes", "outcomes is empty")
    intake = _OutcomeIntake(envelope, post.arrival, gateway.tokens, gateway.limits.token_ms)
    items = [_validate(raw, intake) for raw in map(bytes, envelope.outcomes)]
    return await write_and_answer(gateway, items, trace_of(request))


def expired_outcomes(actions: Sequence[Action]) -> list[Interaction]:
    """Return the `expired` outcomes of late actions, at the time of their decision."""
    return [outcome_of(action, "expired", action.created_at, {}) for action in actions]


def outcome_of(
    action: Action | Claims, name: OutcomeName, at: int, properties: Mapping[str, Scalar]
) -> Interaction:
    """Return an outcome reported by Kairos at `at` (epoch ms); one per action and name counts."""
    return Interaction(
        event_id=outcome_id(action.action_id, name),
        kind="outcome",
        name=name,
        channel=action.channel,
        source=OWN_SOURCE,
        occurred_at=at,
        received_at=at,
        identifiers=(action.identifier,),
        properties={**properties, **action_properties(action)},
    )


def _envelope(raw: bytes, max_items: int) -> Outcomes | Refusal:
    """Decode the request; a single outcome is put into an envelope."""
    envelope = decode_parts(raw, OUTCOMES_DECODER, "outcomes", max_items)
    if isinstance(envelope, Refusal) or envelope.outcomes is not None:
        return envelope
    return replace(envelope, outcomes=(msgspec.Raw(raw),))


def _validate(raw: bytes, intake: _OutcomeIntake) -> ValidatedMessage:
    report = decode(raw, OUTCOME_DECODER)
    if isinstance(report, Refusal):
        return ValidatedMessage(raw, report)
    header = report.traceparent
    trace = None if header is None else traces.continue_trace(header)
    return ValidatedMessage(raw, _outcome(report, intake), trace)


def _outcome(report: OutcomeBody, intake: _OutcomeIntake) -> Interaction | Refusal:
    arrival = intake.arrival
    claims = intake.tokens.verify(report.token)
    if claims is None:
        return refuse("invalid_token", "token", "this is not the token of an action")
    occurred_at = arrival.event_time(report.timestamp, report.sent_at or intake.envelope.sent_at)
    if isinstance(occurred_at, Refusal):
        return occurred_at
    if arrival.source.name != ADAPTERS:
        received_at = occurred_at if arrival.received_at is None else arrival.received_at
        refusal = _check_trust(report.outcome, received_at - claims.at, intake.token_ms)
        if refusal is not None:
            return refusal
    properties = flatten(report.properties or {}, "properties")
    if isinstance(properties, Refusal):
        return properties
    return Draft(
        event_id=_event_id(report, claims.action_id, properties.scalars),
        kind="outcome",
        name=report.outcome,
        channel=claims.channel,
        source=arrival.source.name,
        occurred_at=occurred_at,
        received_at=arrival.received_at,
        identifiers=(claims.identifier,),
        properties=Flat({**properties.scalars, **action_properties(claims)}, properties.lists),
        context=Context(ip=arrival.ip),
    ).complete()


def _check_trust(outcome: OutcomeName, age_ms: int, token_ms: int) -> Refusal | None:
    """Return the refusal of an outcome that only adapters may report, or of an old token; None: it
    is accepted."""
    if outcome in RELEASING_OUTCOMES:
        message = f"{outcome} is accepted from Kairos's own adapters only"
        return Refusal(403, "not_believed", message, "outcome")
    if age_ms > token_ms:
        return refuse("expired_token", "token", f"this token was valid for {token_ms // HOUR_MS} h")
    return None


def _event_id(report: OutcomeBody, action_id: str, properties: dict[str, Scalar]) -> str | Refusal:
    """Return the id of an outcome, from a conversion's goal or the sender's id."""
    if report.outcome == "conversion":
        goal = properties.get("goal")
        return outcome_id(action_id, report.outcome, "" if goal is None else str(goal))
    own_id = message_id(report.message_id, str)
    if isinstance(own_id, Refusal):
        return own_id
    return outcome_id(action_id, report.outcome, own_id)


def action_properties(action: Action | Claims) -> dict[str, Scalar]:
    """Return the properties of an outcome that name its action."""
    return {
        "action_id": action.action_id,
        "decision_id": action.decision_id,
        "campaign": action.campaign,
        "offer": action.offer,
        "treatment": action.treatment,
    }
