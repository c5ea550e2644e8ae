"""`/openapi.json`: the HTTP API for programs, made from the records that it takes and gives."""

from typing import Any, Final, get_args

import msgspec

from pipeline.gateway.collect import Settled
from pipeline.gateway.decide import Decided
from pipeline.gateway.messages import Batch, DecideBody, Kind, Message, OutcomeBody, Outcomes
from pipeline.gateway.readiness import Ready

_RECORDS: Final = (Message, Batch, DecideBody, Decided, OutcomeBody, Outcomes, Settled, Ready)
_ERRORS: Final = {
    400: "A field is wrong; the error names it",
    401: "No key, or a wrong one",
    403: "A key that may not do this",
    413: "The body is too large",
    415: "Another content type or encoding",
    503: "Kafka did not acknowledge in time; send the same again after Retry-After seconds",
}
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
    "/healthz": "The process is alive",
    "/readyz": "The pipeline answers (503: it does not, and what is missing)",
    "/metrics": "Prometheus metrics",
    "/schemas/types": "Schema registry: the types of schemas",
    "/schemas/ids/{schema_id}": "Schema registry: a schema by its id",
    "/subjects": "Schema registry: all subjects",
    "/subjects/{subject}/versions": "Schema registry: a subject's versions",
    "/subjects/{subject}/versions/{number}": "Schema registry: one version, or `latest`",
}


def document() -> bytes:
    """OpenAPI 3.1 as JSON."""
    _, components = msgspec.json.schema_components(
        _RECORDS, ref_template="#/components/schemas/{name}"
    )
    components["Batch"]["properties"]["batch"]["items"] = _ref("Message")
    components["Outcomes"]["properties"]["outcomes"] = {
        "type": "array",
        "items": _ref("OutcomeBody"),
    }
    components["Error"] = _ERROR
    api = {
        "openapi": "3.1.0",
        "info": {"title": "Kairos gateway", "version": "1"},
        "paths": {**_posts(), **{path: {"get": _get(path, _GETS[path])} for path in _GETS}},
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }
    return msgspec.json.encode(api)


def _posts() -> dict[str, Any]:
    kinds = {
        f"/v1/{kind}": _post(f"A {kind} message", _ref("Message"), "Settled")
        for kind in get_args(Kind)
    }
    either = {"oneOf": [_ref("OutcomeBody"), _ref("Outcomes")]}
    return {
        **kinds,
        "/v1/batch": _post("Several messages", _ref("Batch"), "Settled"),
        "/v1/import": _post("As /v1/batch", _ref("Batch"), "Settled"),
        "/v1/decide": _post("What to show in each placement", _ref("DecideBody"), "Decided"),
        "/v1/outcomes": _post("What became of actions", either, "Settled"),
    }


def _post(summary: str, body: dict[str, Any], answer: str) -> dict[str, Any]:
    errors = {str(status): _json(text, _ref("Error")) for status, text in _ERRORS.items()}
    return {
        "post": {
            "summary": summary,
            "security": [{"basic": []}, {"bearer": []}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {"200": _json("Kafka has acknowledged it", _ref(answer)), **errors},
        }
    }


def _get(path: str, summary: str) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return {
        "summary": summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        "responses": {"200": {"description": summary}},
    }


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
