"""Explanations for the SDK's debug overlay, by tokens for holders of a server key.

A token is valid for half an hour, and explains decisions of the last half hour.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from itsdangerous import BadData, TimestampSigner
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.topic_ranges import TopicReader
from pipeline.decisioning.explain import explain
from pipeline.gateway import access, body
from pipeline.gateway.gateway import Gateway
from pipeline.gateway.responses import json_response
from pipeline.home.records import Records
from pipeline.intake.decoding import decode
from pipeline.intake.messages import PostedRecord
from pipeline.intake.refusal import Refusal
from pipeline.model import topics
from pipeline.model.decision import Decision
from pipeline.model.time import MINUTE_MS, SECOND_MS
from pipeline.settings import Settings

_SALT: Final = "kairos.debug"
_VALID_MS: Final = 30 * MINUTE_MS


class DebugToken(Struct, frozen=True):
    """Answer to a server key: a token and the end of its validity (epoch ms)."""

    token: str
    expires_at: int


class ExplainBody(PostedRecord, frozen=True):
    """Body of `/v1/explain`."""

    token: str
    decision_id: str


_BODY: Final = msgspec.json.Decoder(ExplainBody)


@dataclass(frozen=True, slots=True)
class DebugEndpoints:
    """Endpoints of the debug overlay."""

    settings: Settings

    async def make_token(self, gateway: Gateway, request: Request) -> Response | Refusal:
        """Make a token for the holder of a server key."""
        config = gateway.configuration()
        if isinstance(config, Refusal):
            return config
        refusal = access.check_reader(request, config)
        if refusal is not None:
            return refusal
        token = self._signer().sign(b"debug").decode()
        return json_response(DebugToken(token, now_ms() + _VALID_MS))

    async def explain(self, gateway: Gateway, request: Request) -> Response | Refusal:
        """Explain a decision as `kairos explain` does, to the holder of a token."""
        raw = await body.read(request, gateway.limits.message_bytes)
        if isinstance(raw, Refusal):
            return raw
        question = decode(raw, _BODY)
        if isinstance(question, Refusal):
            return question
        if not self._is_valid(question.token):
            message = "the token is invalid or has expired: make another with a server key"
            return Refusal(401, "invalid_token", message, "token")
        decision = await asyncio.to_thread(partial(self._find, gateway, question.decision_id))
        if decision is None:
            message = "no decision of the last half hour has this id"
            return Refusal(404, "unknown_decision", message, "decisionId")
        config = gateway.configurations.get(decision.config)
        if config is None:
            message = "the configuration of this decision is no longer in the topic"
            return Refusal(404, "unknown_configuration", message)
        return json_response(explain(decision, config, "en"))

    def _signer(self) -> TimestampSigner:
        return TimestampSigner(self.settings.signing_secret(), salt=_SALT)

    def _is_valid(self, token: str) -> bool:
        try:
            self._signer().unsign(token, max_age=_VALID_MS // SECOND_MS)
        except BadData:
            return False
        return True

    def _find(self, gateway: Gateway, decision_id: str) -> Decision | None:
        id_bytes = decision_id.encode()
        with TopicReader(self.settings.kafka(), topics.DECISIONS) as reader:
            ends = {number: offsets.stop for number, offsets in reader.limits().items()}
            start = ends | reader.offsets_since(now_ms() - _VALID_MS)
        decisions = Records(self.settings, gateway.codec).read_all(
            topics.DECISIONS,
            Decision,
            lambda record: record.value is not None and id_bytes in record.value,
            start,
        )
        return next(
            (decision for _, decision in decisions if decision.decision_id == decision_id), None
        )
