"""Routes that Segment's browser and mobile clients use besides the API's.

The clients read their settings first, post to short paths (`/v1/t`, `/v1/b`…), and report metrics
about themselves to `/v1/m`.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from pipeline.gateway import access
from pipeline.gateway.gateway import Gateway
from pipeline.gateway.responses import JSON, json_response
from pipeline.intake.messages import Kind
from pipeline.intake.refusal import Refusal

SHORT_PATHS: Final[dict[str, Kind]] = {
    "t": "track",
    "p": "page",
    "i": "identify",
    "g": "group",
    "a": "alias",
    "s": "screen",
}
"""Kind of message by the last part of the path."""

_SETTINGS_AGE_S: Final = 300


async def ignore_metrics(_: Gateway, __: Request) -> Response:
    """Accept a client's metrics about itself, and drop them."""
    return Response(b'{"success":true}', media_type=JSON)


async def answer_settings(gateway: Gateway, request: Request) -> Response | Refusal:
    """Answer with the minimum that lets a client start: this gateway as the host of all posts."""
    config = gateway.configuration()
    if isinstance(config, Refusal):
        return config
    key = request.path_params["key"]
    source = access.find_source(key, config, gateway.adapter_key)
    if isinstance(source, Refusal):
        return Refusal(404, "unknown_key", "no source has this write key", "key")
    url = request.url
    root = url.path.removesuffix(f"/projects/{key}/settings")
    segment = {
        "apiKey": key,
        "apiHost": f"{url.netloc}{root}",
        "protocol": url.scheme,
        "unbundledIntegrations": [],
        "addBundledMetadata": False,
    }
    response = json_response(
        {"integrations": {"Segment.io": segment}, "plan": {}, "metrics": {"sampleRate": 0}}
    )
    response.headers["Cache-Control"] = f"public, max-age={_SETTINGS_AGE_S}"
    return response
