"""Requests of people to the identity stage, as records on `identities`."""

from pipeline.model.identity import IdentityChange
from pipeline.model.ids import control_id
from pipeline.model.interaction import Identifier


def unlink(identifier: Identifier, other: Identifier, at: int) -> IdentityChange:
    """Return the request to cut a link until evidence that occurred after `at` (ms)."""
    return IdentityChange(
        change_id=control_id(f"{identifier.key}/{other.key}", "unlink", str(at)),
        kind="unlink",
        identifier=identifier.key,
        at=at,
        config="",
        other=other.key,
    )


def forget(identifier: Identifier, at: int) -> IdentityChange:
    """Return the request to forget the person who has this identifier; `at` (ms): the time of the
    request."""
    return IdentityChange(
        change_id=control_id(identifier.key, "forget", str(at)),
        kind="forget",
        identifier=identifier.key,
        at=at,
        config="",
    )
