"""Read-only schema registry over HTTP, so that any Avro client can read the topics."""

from collections.abc import Callable, Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.adapters.avro import SchemaVersion
from pipeline.adapters.avro.registry import CONTENT_TYPE, Answer, Registry
from pipeline.gateway import body
from pipeline.gateway.gateway import Gateway
from pipeline.gateway.responses import error_response
from pipeline.intake.refusal import Refusal

_MAX_SCHEMA_BYTES = 1 << 20


def registry_routes(gateway: Gateway, versions: Iterable[SchemaVersion]) -> Iterable[Route]:
    """Make the routes; action topics' subjects are those of the channels in force."""
    all_versions = tuple(versions)

    def registry() -> Registry:
        config = gateway.configuration()
        return Registry(
            all_versions, () if isinstance(config, Refusal) else sorted(config.channels)
        )

    async def look_up(request: Request) -> Response:
        raw = await body.read(request, _MAX_SCHEMA_BYTES)
        if isinstance(raw, Refusal):
            return error_response(raw)
        return _response(registry().look_up(request.path_params["subject"], raw))

    def get(path: str, answer: Callable[..., Answer]) -> Route:
        async def endpoint(request: Request) -> Response:
            return _response(answer(registry(), *request.path_params.values()))

        return Route(path, endpoint)

    yield get("/schemas/types", Registry.types)
    yield get("/schemas/ids/{schema_id}", Registry.schema)
    yield get("/config", Registry.config)
    yield get("/mode", Registry.mode)
    yield get("/subjects", Registry.subjects)
    yield get("/subjects/{subject}/versions", Registry.versions)
    yield get("/subjects/{subject}/versions/{number}", Registry.version)
    yield Route("/subjects/{subject}", look_up, methods=["POST"])


def _response(answer: Answer) -> Response:
    status, value = answer
    return Response(msgspec.json.encode(value), status, media_type=CONTENT_TYPE)
