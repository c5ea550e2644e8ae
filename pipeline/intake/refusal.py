"""Why a request, or one message of it, is not taken: a value that becomes the JSON error."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` for programs, `message` for people, `field` names the part at fault, if any."""

    status: int
    code: str
    message: str
    field: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def bad(code: str, field: str | None, message: str) -> Refusal:
    """400: the sender must mend `field`."""
    return Refusal(400, code, message, field)


def unavailable(detail: str) -> Refusal:
    """503: the same request can succeed later."""
    return Refusal(
        503, "unavailable", f"not taken, send it again: {detail}", headers=(("Retry-After", "1"),)
    )
