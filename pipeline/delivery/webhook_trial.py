"""Trial of webhooks: one action through the adapter to a receiver on this machine."""

from typing import Final

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from pipeline.delivery.trial_delivery import deliver_trial
from pipeline.delivery.webhook import Endpoint, WebhookAdapter

_HOST: Final = "127.0.0.1"
_CHANNEL: Final = "webhook"
_HEADERS: Final = ("Content-Type", "Idempotency-Key", "Kairos-Signature", "traceparent")
_CONTENT: Final = {"text": "This action went through the adapter of webhooks of Kairos."}


async def send_trial(address: str, server_url: str | None, secret: str) -> str:
    """Post an action, signed by `secret`; return the result, and the request if the receiver is
    local."""
    requests: list[str] = []

    async def keep(request: web.Request) -> web.Response:
        requests.extend(f"{name}: {request.headers[name]}" for name in _HEADERS)
        requests.append(await request.text())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", keep)
    async with (
        TestServer(app, host=_HOST) as server,
        ClientSession(auto_decompress=False) as client,
    ):
        endpoint = Endpoint(server_url or str(server.make_url("/")), secret)
        adapter = WebhookAdapter(client, lambda _: endpoint)
        result = await deliver_trial(adapter, _CHANNEL, address, _CONTENT)
    return "\n".join([result, *requests])
