"""`/v1/outcomes`: outcomes of actions, as interactions of the customers they were for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters import traces
from pipeline.config.model import ADAPTERS
from pipeline.decisioning.history import NOT_SHOWN
from pipeline.decisioning.token import Claims, TokenKey
from pipeline.gateway.collect import ValidatedMessage, write_and_answer
from pipeline.gateway.gateway import Gateway, trace_of
from pipeline.intake.decoding import decode, decode_parts
from pipeline.intake.flatten import flatten
from pipeline.intake.messages import OUTCOME, OUTCOMES, OutcomeBody, OutcomeName, Outcomes
from pipeline.intake.refusal import Refusal, bad
from pipeline.intake.segment_api import Arrival, message_id
from pipeline.model.decision import Action
from pipeline.model.ids import outcome_id
from pipeline.model.interaction import Context, Interaction, Scalar
from pipeline.model.time import HOUR_MS

_OWN: Final = "kairos"
"""Source of the outcomes that Kairos itself reports."""


@dataclass(frozen=True, slots=True)
class _OutcomeIntake:
    """Context of the outcomes of one request; `token_ms`: how old a token may be."""

    envelope: Outcomes
    arrival: Arrival
    tokens: TokenKey
    token_ms: int


async def outcomes(gateway: Gateway, request: Request) -> Response | Refusal:
    """Accept one outcome, or the valid ones of several under `outcomes`."""
    post = await gateway.read(request, gateway.limits.batch_bytes)
    if isinstance(post, Refusal):
        return post
    envelope = _envelope(post.raw, gateway.limits.items)
    if isinstance(envelope, Refusal):
        return envelope
    arrival = post.arrival(envelope.write_key)
    if isinstance(arrival, Refusal):
        return arrival
    if not envelope.outcomes:
        return bad("missing_field", "outcomes", "outcomes is empty")
    intake = _OutcomeIntake(envelope, arrival, gateway.tokens, gateway.limits.token_ms)
    validated = [_validate(raw, intake) for raw in map(bytes, envelope.outcomes)]
    return await write_and_answer(gateway, validated, trace_of(request))


def expired_outcomes(actions: Sequence[Action]) -> list[Interaction]:
    """Return `expired` outcomes of actions that came too late, at the time they were made for."""
    return [
        Interaction(
            event_id=outcome_id(action.action_id, "expired"),
            kind="outcome",
            name="expired",
            channel=action.channel,
            source=_OWN,
            occurred_at=action.created_at,
            received_at=action.created_at,
            identifiers=(action.identifier,),
            properties=_action_properties(action),
        )
        for action in actions
    ]


def _envelope(raw: bytes, most: int) -> Outcomes | Refusal:
    """Decode the request; a single outcome is put into an envelope."""
    envelope = decode_parts(raw, OUTCOMES, "outcomes", most)
    if isinstance(envelope, Refusal) or envelope.outcomes is not None:
        return envelope
    return replace(envelope, outcomes=(msgspec.Raw(raw),))


def _validate(raw: bytes, intake: _OutcomeIntake) -> ValidatedMessage:
    posted = decode(raw, OUTCOME)
    if isinstance(posted, Refusal):
        return ValidatedMessage(raw, posted)
    own = None if posted.traceparent is None else traces.going_on(posted.traceparent)
    return ValidatedMessage(raw, _outcome(posted, intake), own)


def _outcome(posted: OutcomeBody, intake: _OutcomeIntake) -> Interaction | Refusal:
    arrival = intake.arrival
    claims = intake.tokens.verify(posted.token)
    if claims is None:
        return bad("invalid_token", "token", "this token is not one that an action carried")
    occurred = arrival.occurred_at(posted.timestamp, posted.sent_at or intake.envelope.sent_at)
    if isinstance(occurred, Refusal):
        return occurred
    received = arrival.received_at(occurred)
    if arrival.source.name != ADAPTERS:
        refusal = _distrust(posted.outcome, received - claims.at, intake.token_ms)
        if refusal is not None:
            return refusal
    given = flatten(posted.properties or {}, "properties")
    if isinstance(given, Refusal):
        return given
    detail = _detail(posted, given.scalars)
    if isinstance(detail, Refusal):
        return detail
    return Interaction(
        event_id=outcome_id(claims.action_id, posted.outcome, detail),
        kind="outcome",
        name=posted.outcome,
        channel=claims.channel,
        source=arrival.source.name,
        occurred_at=occurred,
        received_at=received,
        identifiers=(claims.identifier,),
        properties={**given.scalars, **_action_properties(claims)},
        lists=given.lists,
        context=Context(ip=arrival.ip),
    )


def _distrust(outcome: OutcomeName, age_ms: int, token_ms: int) -> Refusal | None:
    """Return why a source other than the adapters may not report this outcome; None when it may."""
    if outcome in NOT_SHOWN:
        what = f"{outcome} is taken from Kairos's own adapters only"
        return Refusal(403, "not_believed", what, "outcome")
    if age_ms > token_ms:
        return bad("expired_token", "token", f"this token was good for {token_ms // HOUR_MS} h")
    return None


def _detail(posted: OutcomeBody, properties: dict[str, Scalar]) -> str | Refusal:
    """Return the part of the id that tells the outcome from others of its action."""
    if posted.outcome == "conversion":
        goal = properties.get("goal")
        return "" if goal is None else str(goal)
    return message_id(posted.message_id, str)


def _action_properties(action: Action | Claims) -> dict[str, Scalar]:
    return {
        "action_id": action.action_id,
        "decision_id": action.decision_id,
        "campaign": action.campaign,
        "offer": action.offer,
        "treatment": action.treatment,
    }
