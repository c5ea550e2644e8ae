"""`/openapi.json`: description of the HTTP API, derived from the records of requests and
answers."""

from typing import Any, Final, get_args

import msgspec

from pipeline.decisioning.explain import Explanation
from pipeline.gateway.collect import IntakeAnswer
from pipeline.gateway.debugging import DebugToken, ExplainBody
from pipeline.gateway.decide import DecideAnswer
from pipeline.gateway.profiles import ErasureAnswer, PersonExport
from pipeline.gateway.readiness import ReadyAnswer
from pipeline.gateway.receipts import ReceiptAnswer, ReceiptBody
from pipeline.gateway.redeem import RedeemAnswer, RedeemBody
from pipeline.gateway.segment_clients import SHORT_PATHS
from pipeline.intake.messages import (
    CookieBody,
    DecideBody,
    Kind,
    OutcomeBody,
    Outcomes,
    SegmentBatch,
    SegmentMessage,
)
from pipeline.profile_reads.person import Person

_RECORDS: Final = (
    SegmentMessage,
    SegmentBatch,
    DecideBody,
    DecideAnswer,
    ReceiptBody,
    ReceiptAnswer,
    RedeemBody,
    RedeemAnswer,
    OutcomeBody,
    Outcomes,
    IntakeAnswer,
    ReadyAnswer,
    Person,
    PersonExport,
    ErasureAnswer,
    CookieBody,
    ExplainBody,
    Explanation,
    DebugToken,
)
_ERRORS: Final = {
    400: "A field is invalid; the error names it",
    401: "No key, or an unknown one",
    403: "The key does not allow this",
    404: "No person has this identifier",
    413: "The body is too large",
    415: "An unsupported content type or encoding",
    429: "Too many requests of one address; send the same again after Retry-After seconds",
    503: "Kafka did not acknowledge in time; send the same again after Retry-After seconds",
}
_PROFILE_ERRORS: Final = (400, 401, 403, 404, 503)
_KEY: Final[list[dict[str, list[str]]]] = [{"basic": []}, {"bearer": []}]
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "field"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "field": {"type": ["string", "null"]},
            },
        }
    },
}
_GETS: Final = {
    "/sdk.js": "The web SDK",
    "/sdk.mjs": "The web SDK as a module",
    "/sdk-debug.js": "The web SDK's debug overlay",
    "/v1/projects/{key}/settings": "Settings that Segment's clients read at their start",
    "/healthz": "The process is alive",
    "/readyz": "The pipeline answers (503: it does not, with the missing parts)",
    "/metrics": "Prometheus metrics",
    "/v1/unsubscribe": "Page to choose messages, by the signed link in one",
    "/v1/click": "Count a click, and redirect to the signed link's URL",
    "/v1/open": "Count a message as opened, and answer with a picture",
    "/schemas/types": "Schema registry: the types of schemas",
    "/schemas/ids/{schema_id}": "Schema registry: a schema by its id",
    "/subjects": "Schema registry: all subjects",
    "/subjects/{subject}/versions": "Schema registry: a subject's versions",
    "/subjects/{subject}/versions/{number}": "Schema registry: one version, or `latest`",
}

_POSTS: Final = {
    "/v1/batch": ("Several messages", "SegmentBatch", "IntakeAnswer"),
    "/v1/b": ("As /v1/batch", "SegmentBatch", "IntakeAnswer"),
    "/v1/import": ("As /v1/batch", "SegmentBatch", "IntakeAnswer"),
    "/v1/decide": ("The actions of each placement", "DecideBody", "DecideAnswer"),
    "/v1/cookie": (
        "Keep the anonymous id as a cookie of the server",
        "CookieBody",
        "IntakeAnswer",
    ),
    "/v1/explain": (
        "Explanation of a decision of the last half hour",
        "ExplainBody",
        "Explanation",
    ),
    "/v1/receipts": (
        "A payment, and the text to print under its receipt",
        "ReceiptBody",
        "ReceiptAnswer",
    ),
    "/v1/coupons/redeem": ("Redeem a code, once", "RedeemBody", "RedeemAnswer"),
}
"""Summary, body and answer, as names of records, by path."""

_POST_ERRORS: Final[dict[str, dict[int, str]]] = {
    "/v1/explain": {404: "No decision of the last half hour has this id"},
    "/v1/coupons/redeem": {
        404: "The code was never issued",
        409: "The code was redeemed before",
        410: "The code is no longer valid",
    },
}
"""Errors of single paths, besides those of all posts."""

_KEYLESS_POSTS: Final = ("/v1/explain", "/v1/m")
"""Posts without a key: one has a token in its body, the other is dropped."""

_SIGNED_POSTS: Final = {
    "/v1/unsubscribe": (200, "Save the page's choice; without one, stop (RFC 8058)"),
    "/v1/providers/{name}": (204, "Statuses and replies, as a provider posts and signs them"),
}
"""Posts with a signature instead of a key, with the status of their answer."""


def openapi_document() -> bytes:
    """Return the description in OpenAPI 3.1, as JSON."""
    _, components = msgspec.json.schema_components(
        _RECORDS, ref_template="#/components/schemas/{name}"
    )
    components["SegmentBatch"]["properties"]["batch"]["items"] = _refer_to("SegmentMessage")
    components["Outcomes"]["properties"]["outcomes"] = {
        "type": "array",
        "items": _refer_to("OutcomeBody"),
    }
    components["Error"] = _ERROR
    paths = {
        **_describe_posts(),
        **_describe_profiles(),
        **{path: {"get": _describe_keyless_operation(path, _GETS[path])} for path in _GETS},
    }
    for path, (status, summary) in _SIGNED_POSTS.items():
        post = _describe_keyless_operation(path, summary, status)
        paths[path] = {**paths.get(path, {}), "post": post}
    api = {
        "openapi": "3.1.0",
        "info": {"title": "Kairos gateway", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }
    return msgspec.json.encode(api)


def _describe_posts() -> dict[str, Any]:
    message = _refer_to("SegmentMessage")
    outcome_body = {"oneOf": [_refer_to("OutcomeBody"), _refer_to("Outcomes")]}
    summaries_by_kind = {f"/v1/{kind}": f"A {kind} message" for kind in get_args(Kind)}
    short_path_summaries = {f"/v1/{path}": f"As /v1/{kind}" for path, kind in SHORT_PATHS.items()}
    token = _describe_keyed_operation("A token for /v1/explain", "DebugToken", (401, 403, 503))
    posts: dict[str, tuple[str, dict[str, Any], str]] = {
        **{
            path: (summary, message, "IntakeAnswer")
            for path, summary in (summaries_by_kind | short_path_summaries).items()
        },
        **{
            path: (summary, _refer_to(body), answer)
            for path, (summary, body, answer) in _POSTS.items()
        },
        "/v1/m": ("Metrics of the client, ignored", {}, "IntakeAnswer"),
        "/v1/outcomes": ("Outcomes of actions", outcome_body, "IntakeAnswer"),
    }
    return {
        **{path: _describe_post(path, *description) for path, description in posts.items()},
        "/v1/debug-tokens": {"post": token},
    }


def _describe_profiles() -> dict[str, Any]:
    path = "/v1/profiles/{namespace}/{value}"
    read = _describe_keyed_operation("The person of an identifier", "Person")
    export = _describe_keyed_operation(
        "All data of the person, and the topics with more", "PersonExport"
    )
    erase = _describe_keyed_operation(
        "Forget the person: 202 once Kafka has acknowledged the request",
        "ErasureAnswer",
        status=202,
    )
    parameters = _describe_parameters(path)
    return {
        path: {"parameters": parameters, "get": read, "delete": erase},
        f"{path}/export": {"parameters": parameters, "get": export},
    }


def _describe_keyed_operation(
    summary: str, answer: str, error_statuses: tuple[int, ...] = _PROFILE_ERRORS, status: int = 200
) -> dict[str, Any]:
    """Describe an operation that needs a server key."""
    errors = {
        str(code): _json_content(_ERRORS[code], _refer_to("Error")) for code in error_statuses
    }
    return {
        "summary": summary,
        "security": _KEY,
        "responses": {str(status): _json_content(summary, _refer_to(answer)), **errors},
    }


def _describe_post(path: str, summary: str, body: dict[str, Any], answer: str) -> dict[str, Any]:
    """Describe a post with a write key, if it needs one, and its errors."""
    common_errors = {status: text for status, text in _ERRORS.items() if status != 404}
    errors = {
        str(status): _json_content(text, _refer_to("Error"))
        for status, text in sorted({**common_errors, **_POST_ERRORS.get(path, {})}.items())
    }
    return {
        "post": {
            "summary": summary,
            **({} if path in _KEYLESS_POSTS else {"security": _KEY}),
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": _json_content(
                    "Answer, after Kafka has acknowledged all that was written", _refer_to(answer)
                ),
                **errors,
            },
        }
    }


def _describe_keyless_operation(path: str, summary: str, status: int = 200) -> dict[str, Any]:
    """Describe an operation without a key."""
    return {
        "summary": summary,
        "parameters": _describe_parameters(path),
        "responses": {str(status): {"description": summary}},
    }


def _describe_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]


def _json_content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refer_to(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
