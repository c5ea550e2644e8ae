"""Routes of the HTTP API, and errors as JSON."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias, get_args

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.adapters.signed_links import CLICK_PATH, OPEN_PATH, PREFERENCES_PATH, PROVIDERS_PATH
from pipeline.gateway.collect import Endpoint, accept_batch, message_endpoint
from pipeline.gateway.cors import add_headers, answer_preflight
from pipeline.gateway.coupon_book import CouponDesk
from pipeline.gateway.debugging import DebugEndpoints
from pipeline.gateway.decide import DecideEndpoint
from pipeline.gateway.gateway import Gateway
from pipeline.gateway.id_cookie import set_id_cookie
from pipeline.gateway.joined_paths import JoinedPaths
from pipeline.gateway.openapi import openapi_document
from pipeline.gateway.outcomes import accept_outcomes
from pipeline.gateway.preferences import save_preferences, show_preferences
from pipeline.gateway.profiles import ProfileEndpoints
from pipeline.gateway.providers import take_callback
from pipeline.gateway.readiness import GatewayReadiness
from pipeline.gateway.receipts import ReceiptEndpoint
from pipeline.gateway.redeem import RedeemEndpoint
from pipeline.gateway.registry_routes import registry_routes
from pipeline.gateway.responses import JSON, error_response, json_response
from pipeline.gateway.returned_mail import take_returned_mail
from pipeline.gateway.sdk_files import script_routes
from pipeline.gateway.segment_clients import SHORT_PATHS, answer_settings, ignore_metrics
from pipeline.gateway.tracking import follow_link, show_picture
from pipeline.intake.messages import Kind
from pipeline.intake.refusal import Refusal

_log = logging.getLogger(__name__)

_BATCH_PATHS: Final = ("/v1/batch", "/v1/b", "/v1/import")
"""Segment's older clients post batches to /v1/import, those of browsers and apps to /v1/b."""

_SETTINGS_PATH: Final = "/v1/projects/{key}/settings"

_PROFILES_PATH: Final = "/v1/profiles/{path:text}"

_ERROR_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


_Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class _TextConvertor(PathConvertor):
    """Rest of a path, line breaks included."""

    regex = "(?s:.*)"


register_url_convertor("text", _TextConvertor())


def create_app(
    gateway: Gateway,
    decide: DecideEndpoint,
    readiness: GatewayReadiness,
    profiles: ProfileEndpoints,
    coupons: CouponDesk,
) -> Starlette:
    """Make the application that serves the whole HTTP API."""
    posts: dict[str, Endpoint] = {"/v1/decide": decide}
    posts |= {"/v1/receipts": ReceiptEndpoint(decide, coupons.codes, decide.pending_replies.expire)}
    posts |= {"/v1/coupons/redeem": RedeemEndpoint(coupons.book)}
    posts |= {f"/v1/{kind}": message_endpoint(kind) for kind in get_args(Kind)}
    posts |= dict.fromkeys(_BATCH_PATHS, accept_batch)
    posts |= {f"/v1/{path}": message_endpoint(kind) for path, kind in SHORT_PATHS.items()}
    debugging = DebugEndpoints(profiles.settings)
    posts |= {"/v1/outcomes": accept_outcomes, "/v1/m": ignore_metrics, "/v1/cookie": set_id_cookie}
    posts["/v1/explain"] = debugging.explain
    app = Starlette(
        routes=[
            *(_open_route("POST", path, endpoint, gateway) for path, endpoint in posts.items()),
            _open_route("GET", _SETTINGS_PATH, answer_settings, gateway),
            _route("POST", "/v1/debug-tokens", debugging.make_token, gateway),
            *script_routes(),
            _route("GET", _PROFILES_PATH, profiles.read, gateway),
            _route("DELETE", _PROFILES_PATH, profiles.erase, gateway),
            _route("GET", PREFERENCES_PATH, show_preferences, gateway),
            _route("POST", PREFERENCES_PATH, save_preferences, gateway),
            _route("POST", f"{PROVIDERS_PATH}/email", take_returned_mail, gateway),
            _route("POST", f"{PROVIDERS_PATH}/{{name}}", take_callback, gateway),
            _route("GET", CLICK_PATH, follow_link, gateway),
            _route("GET", OPEN_PATH, show_picture, gateway),
            *registry_routes(gateway, gateway.codec.versions),
            *_health_routes(gateway, readiness),
            Route("/openapi.json", _constant_handler(openapi_document())),
        ],
        middleware=[Middleware(JoinedPaths)],
        exception_handlers={HTTPException: _answer_http_error, Exception: _answer_bug},
    )
    app.router.redirect_slashes = False  # Starlette's redirects are not JSON
    return app


def _open_route(method: str, path: str, endpoint: Endpoint, gateway: Gateway) -> Route:
    """Make a route that pages of other origins may use."""
    answer = _counting_handler(path, endpoint, gateway)

    async def handle(request: Request) -> Response:
        if request.method == "OPTIONS":
            return answer_preflight(gateway, request)
        response = await answer(request)
        add_headers(gateway, request, response)
        return response

    return Route(path, handle, methods=[method, "OPTIONS"])


def _route(method: str, path: str, endpoint: Endpoint, gateway: Gateway) -> Route:
    return Route(path, _counting_handler(path, endpoint, gateway), methods=[method])


def _counting_handler(path: str, endpoint: Endpoint, gateway: Gateway) -> _Handler:
    metrics = gateway.metrics

    async def handle(request: Request) -> Response:
        began_s = time.perf_counter()
        try:
            result = await endpoint(gateway, request)
        except ClientDisconnect:
            result = Refusal(400, "disconnected", "the connection ended during the body")
        if isinstance(result, Refusal):
            metrics.count_rejected(result)
            result = error_response(result)
        metrics.count_answer(path, result.status_code, time.perf_counter() - began_s)
        return result

    return handle


def _health_routes(gateway: Gateway, readiness: GatewayReadiness) -> Iterable[Route]:
    async def answer_readiness(_: Request) -> Response:
        readiness_report = await readiness.check()
        return json_response(readiness_report, 200 if readiness_report.ready else 503)

    async def answer_metrics(_: Request) -> Response:
        return Response(gateway.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    yield Route("/healthz", _constant_handler(b'{"alive":true}'))
    yield Route("/readyz", answer_readiness)
    yield Route("/metrics", answer_metrics)


def _constant_handler(body: bytes) -> _Handler:
    async def answer(_: Request) -> Response:
        return Response(body, media_type=JSON)

    return answer


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _ERROR_CODES.get(error.status_code, "refused")
    message = f"{request.method} {request.url.path}: {error.detail}"
    headers = tuple((error.headers or {}).items())
    return error_response(Refusal(error.status_code, code, message, headers=headers))


async def _answer_bug(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    fault = Refusal(500, "internal", "the gateway has a fault: its log has the error")
    return error_response(fault)
