"""channels.yaml: channels, and the adapters that deliver them."""

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from pipeline.config.model.part import Cost, Duration, Name, Part, SecretName


class Dkim(Part, frozen=True):
    """DKIM signature of every e-mail: the public key is at `SELECTOR._domainkey.DOMAIN` in DNS.

    `key` names the environment variable, of the adapter, with the private RSA key in PEM; `domain`
    is the sender's unless it is given.
    """

    selector: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]+$(?!\n)")]
    key: SecretName
    domain: str | None = None


class Email(Part, frozen=True):
    """E-mail of a channel with `adapter: email`, whose `url` is the SMTP server.

    `from` is an address, or `Name <address>`; `return_path` is where bounces go, `from` unless it
    is given. `user` and `password` log in. `per_second` limits the messages to one recipient
    domain, `connections` the connections to the server.

    `links` is the gateway's URL as customers reach it (variables as in `url`): needed for links to
    unsubscribe, which every message but a transactional one then has, and for `track`. `track`
    counts opens (a picture that the message loads) and clicks (links in its HTML lead through the
    gateway); neither unless it is listed.

    `returned` is a Maildir (an absolute path; variables as in `url`) into which bounces and
    complaints are delivered.
    `resend_unknown: true` sends a message again when a crash left unknown whether it was accepted;
    otherwise it counts as sent.
    """

    sender: Annotated[str, Meta(min_length=3)] = field(name="from")
    reply_to: str | None = None
    return_path: str | None = None
    user: str | None = None
    password: SecretName | None = None
    dkim: Dkim | None = None
    per_second: Annotated[float, Meta(gt=0)] = 10.0
    connections: Annotated[int, Meta(ge=1, le=100)] = 4
    links: str | None = None
    track: tuple[Literal["opens", "clicks"], ...] = ()
    returned: str | None = None
    resend_unknown: bool = False


PUSH_SERVICES: Final = (
    "fcm.googleapis.com",
    "push.services.mozilla.com",
    "push.apple.com",
    "notify.windows.com",
)
"""Hosts, with those below them, of the browsers' push services."""


class Push(Part, frozen=True):
    """Web push of a channel with `adapter: push`, to browsers that subscribed.

    The address of a treatment is a subscription, in the form of `JSON.stringify(subscription)`: an
    identifier in `namespace`, which must not be normalised beyond `trim`. `key` names the
    environment variable, of the adapter, with the VAPID private key (PEM or base64); `contact` is
    an address for complaints of push services (`mailto:` or `https:`). Subscriptions at hosts other
    than `services` and their subdomains get nothing, because browsers choose the host.
    """

    key: SecretName
    contact: Annotated[str, Meta(pattern="^(mailto:|https:)")]
    namespace: Name = "push"
    services: tuple[str, ...] = PUSH_SERVICES


class Pos(Part, frozen=True):
    """Receipt printer of a channel with `adapter: pos`; `width`: characters of a line (80 mm paper
    has 42, 58 mm 32)."""

    width: Annotated[int, Meta(ge=16, le=128)] = 42


class Channel(Part, frozen=True):
    """Way to reach a customer. `cost` is that of a message, `deadline` the time for which it is
    worth sending.

    `adapter: webhook` posts each action to `url`; `adapter: email` sends it by the SMTP server at
    `url` (`smtp+starttls://HOST:587`, `smtps://HOST:465`, or `smtp://HOST:25` without encryption),
    as configured in `email`; `adapter: sms` sends it by the HTTP API of the `provider` that a file
    in providers/ describes; `adapter: push` sends it to browsers, as configured in `push`;
    `adapter: pos` prints it by the receipt printer at `url` (`tcp://HOST:9100`); `adapter: none`
    leaves the topic to other consumers.

    `secret` names the environment variable, of the adapter, with the key by which posts are signed:
    `${NAME}`. Variables in `url` (`${NAME}`, `${NAME:-default}`) are the adapter's too: the
    configuration keeps their names, never their values.

    `placements` are the places in the channel for which messages are requested. `escape: html`
    escapes customers' values in contents for pages; it is the default of the channel `web`, and of
    parts of a content named `html` in any channel. `confirm_within`: time after its decision within
    which every shown message is reported (an impression, a click); a message without such a report
    was not shown, since its answer was lost, and no longer counts under the caps.
    """

    name: Name
    cost: Cost = 0.0
    deadline: Duration = "5m"
    adapter: Literal["none", "webhook", "email", "sms", "push", "pos"] = "none"
    url: str | None = None
    secret: SecretName | None = None
    email: Email | None = None
    push: Push | None = None
    pos: Pos | None = None
    provider: Name | None = None
    placements: tuple[Name, ...] = ()
    escape: Literal["html", "none"] | None = None
    confirm_within: Duration | None = None


class Channels(Part, frozen=True):
    """channels.yaml"""

    channels: Annotated[tuple[Channel, ...], Meta(min_length=1)]
