"""Refusals of a request or of one message, as values that become JSON errors."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refusal: `code` for programs, `message` for people, `field` at fault, if there is one."""

    status: int
    code: str
    message: str
    field: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def refuse(code: str, field: str | None, message: str) -> Refusal:
    """Refuse with 400: the sender must correct the message, at `field` if one is at fault."""
    return Refusal(400, code, message, field)


def refuse_unavailable(detail: str) -> Refusal:
    """Refuse with 503: the same request can succeed later."""
    return Refusal(
        503,
        "unavailable",
        f"not accepted, send it again: {detail}",
        headers=(("Retry-After", "1"),),
    )
