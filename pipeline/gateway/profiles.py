"""`/v1/profiles/{namespace}/{value}`: reads from the gateway's view of persons, and erasure."""

import asyncio
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from msgspec import Struct
from msgspec.structs import asdict
from starlette.requests import Request
from starlette.responses import Response

from pipeline.adapters.clock import now_ms
from pipeline.adapters.kafka import OutgoingRecord
from pipeline.config.compile import Configuration
from pipeline.gateway import access
from pipeline.gateway.gateway import Gateway
from pipeline.gateway.responses import json_response
from pipeline.identity.requests import forget
from pipeline.intake.refusal import Refusal, refuse, refuse_unavailable
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier
from pipeline.profile_reads.identity_requests import PastRecords, remaining_records
from pipeline.profile_reads.person import Person, find_person, link_history
from pipeline.profile_reads.view import View
from pipeline.profile_reads.view_updater import ViewUpdater
from pipeline.settings import Settings

_PREFIX: Final = "/v1/profiles/"


class PersonExport(Person, frozen=True, kw_only=True):
    """Export of all data of a person.

    `history`: changes of the identity tree, by time. `records`: topics that may contain records of
    the person, and their end (epoch ms; None: for ever).
    """

    history: tuple[IdentityChange, ...]
    records: tuple[PastRecords, ...]


class ErasureAnswer(Struct, frozen=True):
    """Answer to an erasure, requested at `at` (epoch ms), done once the stages have processed it.

    `identifiers`: the person's, in the gateway's view; `records` as in an export.
    """

    identifiers: tuple[str, ...]
    at: int
    records: tuple[PastRecords, ...]


@dataclass(frozen=True, slots=True)
class _ProfileRequest:
    """Request for a person.

    `identifier`: in its normal form, or as sent where the configuration in force does not accept it
    (`refusal`): an earlier configuration may have accepted it.
    """

    identifier: Identifier
    config: Configuration
    is_export: bool
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class ProfileEndpoints:
    """Endpoints that read and erase profiles; `view_updater` keeps `view` up to date."""

    settings: Settings
    view: View
    view_updater: ViewUpdater

    async def read(self, gateway: Gateway, request: Request) -> Response | Refusal:
        """Answer with the person, or with `/export` with all their data."""
        query = _parse_request(gateway, request)
        if isinstance(query, Refusal):
            return query
        if not self.view_updater.is_current:
            return refuse_unavailable("the profiles are still being read from Kafka")
        profile = await asyncio.to_thread(self._export if query.is_export else self._find, query)
        if profile is None:
            message = f"no person has the identifier {query.identifier.key}"
            return query.refusal or Refusal(404, "unknown_profile", message, "value")
        return json_response(profile)

    async def erase(self, gateway: Gateway, request: Request) -> Response | Refusal:
        """Answer 202 once Kafka has acknowledged the request, also for a person not yet in the
        view."""
        query = _parse_request(gateway, request)
        if isinstance(query, Refusal):
            return query
        if query.is_export:
            return Refusal(405, "method_not_allowed", "an export cannot be deleted")
        if query.refusal is not None and await asyncio.to_thread(self._find, query) is None:
            return query.refusal
        at = now_ms()
        change = forget(query.identifier, at)
        value = gateway.codec.encode(topics.IDENTITIES, change)
        record = OutgoingRecord(topics.IDENTITIES, change.identifier, value)
        failure = await gateway.publisher.publish((record,))
        if failure is not None:
            return refuse_unavailable(failure.detail)
        person = await asyncio.to_thread(self._find, query)
        identifiers = (link.identifier for link in person.tree) if person else (change.identifier,)
        return json_response(
            ErasureAnswer(tuple(identifiers), at, self._records(query.config, at)), 202
        )

    def _find(self, query: _ProfileRequest) -> Person | None:
        return find_person(self.view, query.identifier)

    def _export(self, query: _ProfileRequest) -> PersonExport | None:
        person = self._find(query)
        if person is None:
            return None
        return PersonExport(
            **asdict(person),
            history=link_history(self.view, person),
            records=self._records(query.config, now_ms()),
        )

    def _records(self, config: Configuration, at: int) -> tuple[PastRecords, ...]:
        return tuple(remaining_records(self.settings, tuple(config.channels), at))


def _parse_request(gateway: Gateway, request: Request) -> _ProfileRequest | Refusal:
    config = gateway.configuration()
    if isinstance(config, Refusal):
        return config
    refusal = access.check_reader(request, config)
    if refusal is not None:
        return refusal
    parts = _parts(request)
    if len(parts) not in (2, 3) or parts[2:] not in ([], ["export"]):
        message = f"give {_PREFIX}NAMESPACE/VALUE or …/VALUE/export, with %2F for a / in the value"
        return Refusal(404, "not_found", message)
    return _resolve_identifier(config, *parts[:2], is_export=len(parts) == 3)


def _resolve_identifier(
    config: Configuration, namespace: str, value: str, *, is_export: bool
) -> _ProfileRequest | Refusal:
    identifier = Identifier(namespace, value)
    normal_form = config.identity.normalise(identifier)
    if isinstance(normal_form, Identifier):
        return _ProfileRequest(normal_form, config, is_export)
    if namespace not in config.identity.ranks:
        return refuse("invalid_identifier", "namespace", f"namespace: {normal_form}")
    refusal = refuse("invalid_identifier", "value", f"value: {normal_form}")
    return _ProfileRequest(identifier, config, is_export, refusal)


def _parts(request: Request) -> list[str]:
    """Split the raw path: a value may contain percent-encoded slashes."""
    raw_path = request.scope["raw_path"].decode("ascii", errors="replace")
    return [unquote(part) for part in raw_path.removeprefix(_PREFIX).split("/")]
