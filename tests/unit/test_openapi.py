"""The description of the HTTP API names the routes that clients use, and only records that it
defines."""

import json
import re

from pipeline.gateway.openapi import openapi_document
from pipeline.gateway.segment_clients import SHORT_PATHS

_POSTS = {
    *(f"/v1/{kind}" for kind in ("track", "identify", "page", "screen", "group", "alias", "batch")),
    *(f"/v1/{short_path}" for short_path in (*SHORT_PATHS, "b", "m")),
    "/v1/decide",
    "/v1/outcomes",
    "/v1/receipts",
    "/v1/coupons/redeem",
    "/v1/unsubscribe",
    "/v1/providers/{name}",
}
_GETS = {
    "/v1/profiles/{namespace}/{value}",
    "/v1/profiles/{namespace}/{value}/export",
    "/v1/projects/{key}/settings",
    "/v1/unsubscribe",
    "/schemas/ids/{schema_id}",
    "/subjects",
    "/sdk.js",
    "/healthz",
    "/readyz",
    "/metrics",
}


def test_every_route_of_the_contract_is_described() -> None:
    paths = json.loads(openapi_document())["paths"]
    assert {path for path, operations in paths.items() if "post" in operations} >= _POSTS
    assert {path for path, operations in paths.items() if "get" in operations} >= _GETS
    assert "delete" in paths["/v1/profiles/{namespace}/{value}"]


def test_posts_without_a_key_ask_for_none() -> None:
    paths = json.loads(openapi_document())["paths"]
    assert "security" not in paths["/v1/explain"]["post"]
    assert "security" not in paths["/v1/m"]["post"]
    assert "security" in paths["/v1/track"]["post"]


def test_errors_of_single_posts_are_described() -> None:
    paths = json.loads(openapi_document())["paths"]
    explain_answers = paths["/v1/explain"]["post"]["responses"]
    redeem_answers = paths["/v1/coupons/redeem"]["post"]["responses"]
    assert "404" in explain_answers
    assert {"404", "409", "410"} <= redeem_answers.keys()
    assert "404" not in paths["/v1/track"]["post"]["responses"]


def test_every_record_and_parameter_that_is_named_is_defined() -> None:
    document = openapi_document().decode()
    description = json.loads(document)
    references = set(re.findall(r"#/components/schemas/(\w+)", document))
    assert references <= description["components"]["schemas"].keys()
    for path, operations in description["paths"].items():
        named_parameters = set(re.findall(r"\{(\w+)\}", path))
        shared_parameters = operations.get("parameters", [])
        for method in operations.keys() - {"parameters"}:
            parameters = [*shared_parameters, *operations[method].get("parameters", [])]
            assert {parameter["name"] for parameter in parameters} == named_parameters, (
                method,
                path,
            )
