"""`/v1/decide`: an interaction whose sender waits for the decision, within a time budget."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import uuid4

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.kafka import UnacknowledgedWrite
from pipeline.adapters.traces import Trace
from pipeline.config.compile import Configuration
from pipeline.gateway.connections import beginning_s
from pipeline.gateway.decision_admission import AdmissionVerdict, DecisionAdmission
from pipeline.gateway.gateway import Gateway, TracedInteraction, trace_of
from pipeline.gateway.replies import PendingReplies
from pipeline.gateway.request_intake import B, ReceivedRequest, receive
from pipeline.gateway.responses import json_response
from pipeline.intake.decoding import decode
from pipeline.intake.messages import DECIDE_DECODER, DecideBody, PlacementRequest
from pipeline.intake.refusal import Refusal, refuse, refuse_unavailable
from pipeline.intake.segment_api import Arrival, interaction
from pipeline.model.decision import Action, Reply
from pipeline.model.interaction import DecideRequest, Interaction

_MAX_PLACEMENTS: Final = 32
_MAX_NAME_LENGTH: Final = 100
_MAX_LIMIT: Final = 100

_STALL_REASON: Final = "pipeline_stalled"
_TIMEOUT_REASON: Final = "out_of_time"
_PENDING_WRITE: Final = UnacknowledgedWrite("Kafka has not acknowledged it yet")
_RESULTS: Final = {
    (AdmissionVerdict.ADMIT, True): "answered",
    (AdmissionVerdict.ADMIT, False): "defaulted",
    (AdmissionVerdict.STALLED, False): "unasked",
}
"""Label of the metric, by verdict and whether a reply arrived."""


class PlacementAction(Struct, frozen=True):
    """Action for its placement, without data that identify the customer."""

    action_id: str
    campaign: str
    offer: str
    treatment: str
    channel: str
    content: dict[str, str]
    token: str


class DecideAnswer(Struct, frozen=True):
    """Answer by placement: the action to show; None: the placement's own default.

    A placement with a `limit` has a list, which may be empty. `defaulted`: there is no decision,
    for the `reason` `out_of_time` (the budget is spent) or `pipeline_stalled` (none was requested).
    `unknown_placements`: those that no channel of the configuration has, if there are any.
    """

    decision_id: str | None
    placements: dict[str, PlacementAction | list[PlacementAction] | None]
    defaulted: bool
    reason: str | UnsetType = UNSET
    unknown_placements: tuple[str, ...] | UnsetType = UNSET


class NoDecision(Struct, frozen=True):
    """Absence of a decision, with its reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class DecideEndpoint:
    """Endpoint that waits for the reply of the decisioning stage, where it can arrive in time."""

    pending_replies: PendingReplies
    admission: DecisionAdmission

    async def __call__(self, gateway: Gateway, request: Request) -> Response | Refusal:
        if not self.admission.admit_to_loop(beginning_s(request)):
            gateway.metrics.count_decision("refused")
            return _refuse_overload("this gateway has more requests than it can answer in time", 1)
        parse = partial(decode, decoder=DECIDE_DECODER)
        post = await receive(gateway, request, gateway.limits.message_bytes, parse)
        if isinstance(post, Refusal):
            return post
        body = post.body
        reply = await self.decide(gateway, post, body, trace_of(request))
        if isinstance(reply, Refusal):
            return reply
        return json_response(_answer(body.placements, reply, post.arrival.config))

    async def decide(
        self, gateway: Gateway, post: ReceivedRequest[B], body: DecideBody, trace: Trace
    ) -> Reply | Refusal | NoDecision:
        """Return the reply to a request, or NoDecision if it does not arrive in time."""
        budget_ms = budget_of(body, post.arrival, gateway)
        record = _to_interaction(body, post.arrival, gateway.instance, budget_ms)
        if isinstance(record, Refusal):
            return record
        key = record.identifiers[0].key
        verdict = AdmissionVerdict.ADMIT
        if post.arrival.source.clock != "log":  # a replayed log has no waiting customer
            verdict = self.admission.judge(key, budget_ms / 1000)
        if verdict is AdmissionVerdict.OVERLOADED:
            gateway.metrics.count_decision("refused")
            message = "the pipeline has more decisions to make than it can in time"
            return _refuse_overload(message, self.admission.retry_after_s(key))
        reply: Reply | NoDecision | UnacknowledgedWrite
        if verdict is AdmissionVerdict.STALLED:
            plain_record = TracedInteraction(replace(record, request=None), trace)
            reply = await self._write_plain(gateway, plain_record, budget_ms)
        else:
            reply = await self._ask(gateway, TracedInteraction(record, trace), budget_ms)
        post.note_attempt(is_acknowledged=not isinstance(reply, UnacknowledgedWrite))
        if isinstance(reply, UnacknowledgedWrite):
            return refuse_unavailable(reply.detail)
        gateway.metrics.count_decision(_RESULTS[verdict, isinstance(reply, Reply)])
        return reply

    async def _ask(
        self, gateway: Gateway, record: TracedInteraction, budget_ms: int
    ) -> Reply | UnacknowledgedWrite | NoDecision:
        """Write the interaction and wait for its reply within the budget.

        Return UnacknowledgedWrite if Kafka did not acknowledge the interaction within the budget.
        """
        request = record.interaction.request
        assert request is not None
        request_id = request.request_id
        answer = self.pending_replies.register(request_id)
        self.admission.note_request(request_id, record.interaction.identifiers[0].key)
        publication = gateway.start_write(record)
        publication.result.add_done_callback(lambda future: _fail_answer(future, answer))
        try:
            return await asyncio.wait_for(answer, budget_ms / 1000)
        except TimeoutError:
            self.pending_replies.give_up(request_id)
            no_decision = publication.failure or NoDecision(_TIMEOUT_REASON)
            return no_decision if publication.is_over else _PENDING_WRITE
        except _NotWrittenError as failure:
            self.pending_replies.give_up(request_id)
            return failure.reason

    async def _write_plain(
        self, gateway: Gateway, record: TracedInteraction, budget_ms: int
    ) -> NoDecision | UnacknowledgedWrite:
        """Write an interaction without a request for a decision."""
        publication = asyncio.create_task(gateway.write((record,)))
        await asyncio.wait((publication,), timeout=budget_ms / 1000)
        if not publication.done():
            return _PENDING_WRITE
        return publication.result() or NoDecision(_STALL_REASON)


class _NotWrittenError(Exception):
    """Raised in a wait whose interaction Kafka did not acknowledge."""

    def __init__(self, failure: UnacknowledgedWrite) -> None:
        self.reason = failure


def _refuse_overload(reason: str, retry_after_s: int) -> Refusal:
    message = f"not accepted, send it again: {reason}"
    return Refusal(503, "overloaded", message, headers=(("Retry-After", str(retry_after_s)),))


def _fail_answer(
    publication: "asyncio.Future[UnacknowledgedWrite | None]", answer: "asyncio.Future[Reply]"
) -> None:
    failure = publication.result()
    if failure is not None and not answer.done():
        answer.set_exception(_NotWrittenError(failure))


def budget_of(body: DecideBody, arrival: Arrival, gateway: Gateway) -> int:
    """Return the time budget (ms) of a request: its own, at most the gateway's."""
    is_log = arrival.source.clock == "log"
    limit = gateway.limits.log_decide_ms if is_log else gateway.limits.decide_ms
    return min(body.budget_ms or gateway.limits.decide_ms, limit)


def _to_interaction(
    body: DecideBody, arrival: Arrival, instance: str, budget_ms: int
) -> Interaction | Refusal:
    kind = body.interaction.type
    if kind is None:
        return refuse("missing_field", "interaction.type", "the message needs a type")
    if budget_ms <= 0:
        return refuse("invalid_field", "budget_ms", "budget_ms must be positive")
    names = [_name_of(placement) for placement in body.placements]
    if not 0 < len(names) <= _MAX_PLACEMENTS or not all(
        0 < len(n) <= _MAX_NAME_LENGTH for n in names
    ):
        message = f"give 1 to {_MAX_PLACEMENTS} names of at most {_MAX_NAME_LENGTH} characters"
        return refuse("invalid_field", "placements", message)
    limits = {
        placement.placement: placement.limit
        for placement in body.placements
        if isinstance(placement, PlacementRequest)
    }
    if not all(0 < limit <= _MAX_LIMIT for limit in limits.values()):
        return refuse("invalid_field", "placements", f"limit: give 1 to {_MAX_LIMIT}")
    request = DecideRequest(
        request_id=str(uuid4()),
        gateway=instance,
        placements=tuple(dict.fromkeys(names)),
        deadline_at=now_ms() + budget_ms,
        limits=limits,
    )
    return interaction(body.interaction, kind, arrival, request)


def _name_of(placement: str | PlacementRequest) -> str:
    return placement if isinstance(placement, str) else placement.placement


def _answer(
    placements: tuple[str | PlacementRequest, ...],
    reply: Reply | NoDecision,
    config: Configuration,
) -> DecideAnswer:
    answers = reply.answers if isinstance(reply, Reply) else ()
    actions = {answer.placement: answer.actions for answer in answers}
    placement_answers = {
        _name_of(placement): _answer_placement(placement, actions.get(_name_of(placement), ()))
        for placement in placements
    }
    unknown_names = unknown_placements(placement_answers, config) or UNSET
    if isinstance(reply, NoDecision):
        return DecideAnswer(
            None,
            placement_answers,
            defaulted=True,
            reason=reply.reason,
            unknown_placements=unknown_names,
        )
    return DecideAnswer(
        reply.decision_id, placement_answers, defaulted=False, unknown_placements=unknown_names
    )


def unknown_placements(placements: Iterable[str], config: Configuration) -> tuple[str, ...]:
    """Return the placements that no channel has: their names may be misspelt, or removed."""
    return tuple(placement for placement in placements if placement not in config.placements)


def _answer_placement(
    placement: str | PlacementRequest, actions: tuple[Action, ...]
) -> PlacementAction | list[PlacementAction] | None:
    answers = [to_placement_action(action) for action in actions]
    if isinstance(placement, PlacementRequest):
        return answers
    return answers[0] if answers else None


def to_placement_action(action: Action) -> PlacementAction:
    """Return an action without data that identify the customer."""
    return PlacementAction(
        action_id=action.action_id,
        campaign=action.campaign,
        offer=action.offer,
        treatment=action.treatment,
        channel=action.channel,
        content=action.content,
        token=action.token,
    )
