"""Trial of text messages: one through the adapter to a provider on this machine."""

from typing import Final

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from pipeline.config.compiled import CompiledChannel
from pipeline.config.model.providers import Provider, ProviderAnswer, ProviderRequest
from pipeline.delivery.sms.adapter import SmsAdapter
from pipeline.delivery.trial_delivery import deliver_trial, trial_host

_HOST: Final = "127.0.0.1"
_FORM: Final = {"To": "{to}", "From": "Kairos", "Body": "{text}", "Reference": "{reference}"}
_TEXT: Final = "This message went through the adapter of text messages of Kairos."


async def send_trial(address: str, server_url: str | None, secret: str) -> str:
    """Send a message to a number; return the result, and the request if the provider is local."""
    requests: list[str] = []

    async def keep(request: web.Request) -> web.Response:
        fields = await request.post()
        requests.extend(
            f"{name}: {value}" for name, value in fields.items() if isinstance(value, str)
        )
        return web.json_response({"id": "local-1"}, status=201)

    app = web.Application()
    app.router.add_post("/send", keep)
    async with TestServer(app, host=_HOST) as server, ClientSession() as client:
        request = ProviderRequest(server_url or str(server.make_url("/send")), form=_FORM)
        provider = Provider("local", request, ProviderAnswer(id="id"))
        channel = CompiledChannel("sms", "sms", None, None, (), provider=provider)
        adapter = SmsAdapter(client, trial_host(channel, secret))
        result = await deliver_trial(adapter, channel.name, address, {"text": _TEXT})
    return "\n".join([result, *requests])
