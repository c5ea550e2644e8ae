"""URLs of SMTP servers: `smtp+starttls://HOST:587`, `smtps://HOST:465`, `smtp://HOST:25`.

No reason repeats a part of the URL, which may contain a secret.
"""

from typing import Final, Literal, TypeAlias

from msgspec import Struct

from pipeline.config.server_urls import BAD_PORT, split_server_url

Encryption: TypeAlias = Literal["none", "starttls", "tls"]

_SCHEMES: Final[dict[str, tuple[Encryption, int]]] = {
    "smtp": ("none", 25),
    "smtp+starttls": ("starttls", 587),
    "smtps": ("tls", 465),
}
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))


class SmtpServer(Struct, frozen=True):
    """SMTP server, and how connections to it are encrypted."""

    host: str
    port: int
    encryption: Encryption

    @property
    def keeps_secrets(self) -> bool:
        """Whether a password may be sent to the server."""
        return self.encryption != "none" or self.host in _LOOPBACK


class SmtpUrlProblem(Struct, frozen=True):
    """Reason why a URL names no SMTP server, with the correction."""

    reason: str


def parse_smtp_url(url: str) -> SmtpServer | SmtpUrlProblem:
    """Return the server that a URL names."""
    parts = split_server_url(url)
    if parts is None:
        return SmtpUrlProblem(BAD_PORT)
    if parts.scheme not in _SCHEMES:
        return SmtpUrlProblem(
            "the URL of an SMTP server begins with smtp+starttls://, smtps:// or smtp://"
        )
    if parts.has_user:
        return SmtpUrlProblem("user and password belong in `email`, not in the URL")
    if not parts.host:
        return SmtpUrlProblem("the URL has no host: write smtp+starttls://HOST:587")
    if parts.has_more:
        return SmtpUrlProblem("the URL of an SMTP server ends with its port")
    encryption, default_port = _SCHEMES[parts.scheme]
    return SmtpServer(parts.host, parts.port or default_port, encryption)
