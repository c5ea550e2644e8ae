"""Files in providers/: requests to a provider's HTTP API, and the meaning of its answers and
posts."""

from typing import Any, Literal, TypeAlias

from msgspec import field

from pipeline.config.model.part import Name, Part, SecretName

BounceReason: TypeAlias = Literal["address", "refused", "soft"]
CallbackOutcome: TypeAlias = Literal["delivered", "impression", "bounce", "complaint"]


class ProviderToken(Part, frozen=True):
    """Access token that is renewed in time: a JWT of the `issuer`, signed by the private `key` (in
    PEM) with `algorithm`; with `url`, the token that the server at `url` issues in exchange for
    that JWT, for `scope` (RFC 7523).

    `key_id` is part of the JWT.
    """

    algorithm: Literal["RS256", "ES256"]
    issuer: str
    key: SecretName
    key_id: str | None = None
    url: str | None = None
    scope: str | None = None


class ProviderRequest(Part, frozen=True):
    """Request that sends one message, with `form` or `json`. In these, in `url` and in `headers`
    `{to}`, `{text}`, `{reference}` (the action's id), `{token}` (by which an app reports outcomes),
    `{callback}` (the URL for statuses) and `{content.NAME}` are replaced, and `${NAME}` are
    variables of the adapter's environment.

    `user` and `password` log in (Basic), or `access_token`, which is `{access_token}` in `headers`.
    `http2`: for providers with HTTP/2 only. `idempotency_header` carries the action's id, if the
    provider recognises repeats by it: a message of unknown fate is then sent again.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    password: SecretName | None = None
    access_token: ProviderToken | None = None
    form: dict[str, str] | None = None
    json: dict[str, Any] | None = None
    http2: bool = False
    idempotency_header: str | None = None


class ProviderAnswer(Part, frozen=True):
    """Paths in the answer (JSON) of the message's id and, in a refusal, of the error code: names
    with dots. `errors` maps codes to meanings: nobody is at that `address`, the message was
    `refused`, or `soft`: it may be accepted later."""

    id: str | None = None
    error: str | None = None
    errors: dict[str, BounceReason] = field(default_factory=dict)


class ProviderSignature(Part, frozen=True):
    """Signature of the provider's posts. `url-form-sha1`: HMAC-SHA1 of the URL and the sorted
    fields of the form, in base64; `body-sha256`: HMAC-SHA256 in base64 of `content`, where `{body}`
    and `{HEADER-NAME}` are replaced. It is in `header`; `secret` names the variable, of the
    gateway, with the key."""

    scheme: Literal["url-form-sha1", "body-sha256"]
    header: str
    secret: SecretName
    content: str = "{body}"


class ProviderCallbacks(Part, frozen=True):
    """Posts of the provider to `/v1/providers/NAME` at `links`, the gateway's URL as it reaches it.

    `status` is the path of a message's status in a post, which `outcomes` maps; `error` that of a
    failure's code. `reply` and `sender` are those of the text and number of a customer's answer,
    and `reply_id` that of its id.
    """

    links: str
    signature: ProviderSignature
    status: str
    outcomes: dict[str, CallbackOutcome]
    error: str | None = None
    reply: str | None = None
    sender: str | None = None
    reply_id: str | None = None


class Provider(Part, frozen=True):
    """Provider of messages by HTTP, for channels with `adapter: sms`.

    `to: e164`: addresses are telephone numbers; `any`: they are used unchanged. A reply that equals
    one of the words in `stop` (in any case) withdraws the consent of the sender, who is known in
    `namespace`, to marketing and service messages on the provider's channels; one in `start` gives
    it.
    """

    provider: Name
    request: ProviderRequest
    answer: ProviderAnswer = field(default_factory=ProviderAnswer)
    callbacks: ProviderCallbacks | None = None
    to: Literal["e164", "any"] = "e164"
    namespace: Name = "phone"
    stop: tuple[str, ...] = ("STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "BAJA")
    start: tuple[str, ...] = ("START", "UNSTOP", "ALTA")
