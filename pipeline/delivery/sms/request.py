"""Request to a provider for one message, from the provider's file and the action."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import encode_basic_auth

from pipeline.adapters.signed_links import PROVIDERS_PATH, CallbackLink, MessageLinks
from pipeline.config.keys import expand_variables
from pipeline.config.model.providers import Provider, ProviderRequest
from pipeline.config.urls import url_problem
from pipeline.delivery.http_clients import HttpPost
from pipeline.model.decision import Action

_FIELD: Final = re.compile(
    r"\{(to|text|reference|token|callback|access_token|content\.[A-Za-z0-9_]+)\}"
)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ProviderProblem:
    """Reason why a provider is unusable until the configuration or environment is corrected."""

    reason: str


class _UnsetError(Exception):
    """Raised for an unset environment variable in a provider's file."""


def provider_post(
    provider: Provider,
    action: Action,
    recipient: str,
    links: MessageLinks,
    access_token: str = "",
) -> HttpPost | ProviderProblem:
    """Return the request for an action to the address `recipient`; only headers contain
    `access_token`."""
    request = provider.request
    values = {
        "to": recipient,
        "text": action.content.get("text", ""),
        "reference": action.action_id,
        "token": action.token,
        **{f"content.{name}": text for name, text in action.content.items()},
    }
    try:
        values["callback"] = _callback(provider, action, links)
        body, content_type = _body(request, values)
        secret = {**values, "access_token": access_token}
        headers = {name: _header(text, secret) for name, text in request.headers.items()}
        headers = {"Content-Type": content_type, **headers, **_login(request)}
        url = _fill(request.url, {name: quote(text, safe="") for name, text in values.items()})
    except _UnsetError as error:
        return ProviderProblem(f"provider {provider.provider}: {error}")
    if request.idempotency_header is not None:
        headers[request.idempotency_header] = action.action_id
    problem = url_problem(url)
    if problem is not None:
        return ProviderProblem(f"provider {provider.provider}: {problem}")
    return HttpPost(url, headers, body)


def _body(request: ProviderRequest, values: Mapping[str, str]) -> tuple[bytes, str]:
    if request.json is not None:
        return msgspec.json.encode(_fill_tree(request.json, values)), "application/json"
    form = {name: _fill(text, values) for name, text in (request.form or {}).items()}
    return urlencode(form).encode(), "application/x-www-form-urlencoded"


def _fill_tree(value: Any, values: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _fill(value, values)
        case dict():
            return {name: _fill_tree(element, values) for name, element in value.items()}
        case list() | tuple():
            return [_fill_tree(element, values) for element in value]
    return value


def _fill(text: str, values: Mapping[str, str]) -> str:
    """Replace variables of the environment, then fields, whose content is not expanded."""
    return _FIELD.sub(lambda match: values.get(match.group(1), ""), _expand(text))


def _header(text: str, values: Mapping[str, str]) -> str:
    return _UNPRINTABLE.sub(" ", _fill(text, values))


def _login(request: ProviderRequest) -> dict[str, str]:
    if request.user is None or request.password is None:
        return {}
    login = encode_basic_auth(_expand(request.user), _expand(request.password))
    return {"Authorization": login}


def _callback(provider: Provider, action: Action, links: MessageLinks) -> str:
    if provider.callbacks is None:
        return ""
    base = _expand(provider.callbacks.links).rstrip("/")
    signed_link = links.callbacks.sign(CallbackLink(action.token))
    return f"{base}{PROVIDERS_PATH}/{provider.provider}?{urlencode({'t': signed_link})}"


def _expand(text: str) -> str:
    value = expand_variables(text, os.environ)
    if value is None:
        raise _UnsetError(f"a variable in {text[:60]!r} is not set here")
    return value
