"""Checks of channels beyond their form, and of treatments against their channel's adapter."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from pipeline.conditions import Path, Problem
from pipeline.config import model
from pipeline.config.keys import expand_variables, possible_texts, reference_problem
from pipeline.config.mail_addresses import parse_mailbox
from pipeline.config.model.providers import Provider
from pipeline.config.names import Names, check_name
from pipeline.config.policy_checks import repetition_problems
from pipeline.config.printer_urls import PrinterUrlProblem, parse_printer_url
from pipeline.config.smtp_urls import SmtpUrlProblem, parse_smtp_url
from pipeline.config.urls import url_problem

_EMAIL: Final = "email"
_SMS: Final = "sms"
_PUSH: Final = "push"
_POS: Final = "pos"
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    _EMAIL: ("subject", "text"),
    _SMS: ("text",),
    _PUSH: ("title",),
    _POS: ("text",),
}
"""Parts that a content needs, by adapter."""


def channel_problems(
    bundle: model.Bundle, names: Names, environment: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield the problems of all channels and providers; `environment` may define the variables in
    their URLs.
    """
    channel_by_placement: dict[str, str] = {}
    providers = [provider.provider for provider in bundle.providers]
    yield from repetition_problems("provider", ("providers",), "provider", providers)
    for provider_index, provider in enumerate(bundle.providers):
        yield from _provider_problems(provider, ("providers", provider_index), names, environment)
    for index, channel in enumerate(bundle.channels.channels):
        path: Path = ("channels", "channels", index)
        yield from _provider_name_problems(channel, path, frozenset(providers))
        yield from _push_problems(channel, path, names)
        yield from _pos_problems(channel, path, environment)
        if channel.adapter == _EMAIL:
            yield from _email_channel_problems(channel, path, environment)
        elif channel.adapter != _POS:
            yield from _other_channel_problems(channel, path, environment)
        for placement_index, placement in enumerate(channel.placements):
            if placement in channel_by_placement:
                other_channel = channel_by_placement[placement]
                message = f"placement {placement!r} is in channel {other_channel} already"
                yield Problem((*path, "placements", placement_index), message)
            channel_by_placement[placement] = channel.name


def treatment_problems(
    treatment: model.Treatment, channel: model.Channel, purpose: model.Purpose, path: Path
) -> Iterator[Problem]:
    """Yield the problems that prevent a treatment from being sent by its channel's adapter."""
    parts = _PARTS.get(channel.adapter)
    if parts is None:
        return
    if channel.adapter == _POS and treatment.placement is not None:
        return
    yield from _route_problems(treatment, channel, path)
    for part in parts:
        if part not in treatment.content:
            yield Problem((*path, "content"), f"a message on {channel.name} needs a {part!r} here")
    if channel.email is None:
        return
    if purpose != "transactional" and channel.email.links is None:
        message = (
            f"this needs a link to unsubscribe: set `links` in `email` of channel {channel.name} "
            "to the gateway's URL, or make the campaign transactional"
        )
        yield Problem((*path, "channel"), message)


def _route_problems(
    treatment: model.Treatment, channel: model.Channel, path: Path
) -> Iterator[Problem]:
    """Yield the problems of a treatment's placement and address."""
    if channel.adapter == _POS:
        if "coupon" in treatment.content:
            message = (
                "coupons are issued with the answer to a payment: give the treatment a placement"
            )
            yield Problem((*path, "content"), message)
        return
    if treatment.placement is not None:
        yield Problem((*path, "placement"), "an outbound message has no placement: leave it out")
    if treatment.address is None:
        message = "name in `address` the namespace of the customer's address on this channel"
        yield Problem((*path, "treatment"), message)


def _provider_name_problems(
    channel: model.Channel, path: Path, providers: frozenset[str]
) -> Iterator[Problem]:
    if (channel.adapter == _SMS) is (channel.provider is None):
        yield Problem((*path, "adapter"), "`adapter: sms` and `provider` go together")
    elif channel.provider is not None:
        yield from check_name("provider", channel.provider, providers, (*path, "provider"))


def _push_problems(channel: model.Channel, path: Path, names: Names) -> Iterator[Problem]:
    if (channel.adapter == _PUSH) is (channel.push is None):
        yield Problem((*path, "adapter"), "`adapter: push` and `push` go together")
    elif channel.push is not None:
        namespace_path = (*path, "push", "namespace")
        yield from check_name("namespace", channel.push.namespace, names.namespaces, namespace_path)


def _pos_problems(
    channel: model.Channel, path: Path, environment: Mapping[str, str]
) -> Iterator[Problem]:
    if (channel.adapter == _POS) is (channel.pos is None):
        yield Problem((*path, "adapter"), "`adapter: pos` and `pos` go together")
    if channel.adapter != _POS:
        return
    if channel.email is not None:
        yield Problem((*path, "email"), "`email` is for channels with `adapter: email`")
    url = expand_variables(channel.url or "", environment)
    reason = reference_problem(channel.url or "")
    if url is not None:
        printer = parse_printer_url(url)
        reason = printer.reason if isinstance(printer, PrinterUrlProblem) else reason
    if reason is not None:
        yield Problem((*path, "url"), reason)


def _provider_problems(
    provider: Provider, path: Path, names: Names, environment: Mapping[str, str]
) -> Iterator[Problem]:
    request, callbacks = provider.request, provider.callbacks
    if provider.provider == _EMAIL:
        message = "`email` is reserved for returned mail: give the provider another name"
        yield Problem((*path, "provider"), message)
    if (request.form is None) is (request.json is None):
        yield Problem((*path, "request"), "set either `form` or `json`, the posted content")
    if (request.user is None) is not (request.password is None):
        yield Problem((*path, "request", "user"), "`user` and `password` go together")
    token = request.access_token
    reason = None if token is None or token.url is None else _http_problem(token.url, environment)
    if reason is not None:
        yield Problem((*path, "request", "access_token", "url"), reason)
    reason = _http_problem(request.url.replace("{", "x").replace("}", "x"), environment)
    if "${" not in request.url and reason is not None:
        yield Problem((*path, "request", "url"), reason)
    yield from check_name("namespace", provider.namespace, names.namespaces, (*path, "namespace"))
    if callbacks is None:
        return
    if (callbacks.reply is None) is not (callbacks.sender is None):
        yield Problem((*path, "callbacks", "reply"), "`reply` and `sender` go together")
    reason = _http_problem(callbacks.links, environment)
    if reason is not None:
        yield Problem((*path, "callbacks", "links"), reason)


def _other_channel_problems(
    channel: model.Channel, path: Path, environment: Mapping[str, str]
) -> Iterator[Problem]:
    if channel.email is not None:
        yield Problem((*path, "email"), "`email` is for channels with `adapter: email`")
    if channel.adapter == "webhook" and not channel.url:
        yield Problem((*path, "adapter"), "a webhook needs `url`, to which actions are posted")
    reason = _http_problem(channel.url, environment) if channel.url else None
    if reason is not None:
        yield Problem((*path, "url"), reason)


def _email_channel_problems(
    channel: model.Channel, path: Path, environment: Mapping[str, str]
) -> Iterator[Problem]:
    if channel.email is None:
        yield Problem((*path, "adapter"), "an e-mail channel needs `email` with `from`")
        return
    if not channel.url:
        yield Problem((*path, "adapter"), "an e-mail channel needs `url`: its SMTP server")
    else:
        reason = _smtp_problem(channel.url, channel.email, environment)
        if reason is not None:
            yield Problem((*path, "url"), reason)
    yield from _email_problems(channel.email, (*path, "email"), environment)


def _email_problems(
    email: model.Email, path: Path, environment: Mapping[str, str]
) -> Iterator[Problem]:
    mailboxes = (
        ("from", email.sender),
        ("reply_to", email.reply_to),
        ("return_path", email.return_path),
    )
    for field, text in mailboxes:
        if text is not None and parse_mailbox(text) is None:
            message = f"{text!r} is not an e-mail address: write hello@shop.example"
            yield Problem((*path, field), message)
    if (email.user is None) is not (email.password is None):
        yield Problem((*path, "user"), "`user` and `password` go together")
    reason = _http_problem(email.links, environment) if email.links else None
    if reason is not None:
        yield Problem((*path, "links"), reason)
    if email.track and not email.links:
        yield Problem((*path, "track"), "tracking needs `links`: the gateway's URL")
    maildir = expand_variables(email.returned, environment) if email.returned else None
    if maildir is not None and not PurePosixPath(maildir).is_absolute():
        yield Problem((*path, "returned"), "write the whole path of the Maildir, from /")


def _http_problem(text: str, environment: Mapping[str, str]) -> str | None:
    reasons = [url_problem(url) for url in possible_texts(text, environment)]
    return reference_problem(text) or (reasons[0] if None not in reasons else None)


def _smtp_problem(text: str, email: model.Email, environment: Mapping[str, str]) -> str | None:
    """Return the problem of an SMTP server's URL; while a variable is not set, of its form only."""
    url = expand_variables(text, environment)
    if url is None:
        return reference_problem(text)
    server = parse_smtp_url(url)
    if isinstance(server, SmtpUrlProblem):
        return server.reason
    if email.password is not None and not server.keeps_secrets:
        return "a password would be sent in clear: use smtp+starttls:// or smtps://"
    return reference_problem(text)
