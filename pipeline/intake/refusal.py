"""Refusals of a request or of one message, as values that become JSON errors."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason of a refusal: `code` for programs, `message` for people, `field` at fault, if any."""

    status: int
    code: str
    message: str
    field: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def bad(code: str, field: str | None, message: str) -> Refusal:
    """Refuse with 400: the sender must correct `field`."""
    return Refusal(400, code, message, field)


def unavailable(detail: str) -> Refusal:
    """Refuse with 503: the same request can succeed later."""
    return Refusal(
        503, "unavailable", f"not taken, send it again: {detail}", headers=(("Retry-After", "1"),)
    )
