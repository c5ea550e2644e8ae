"""identity.yaml: namespaces of identifiers, and values that identify nobody."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from pipeline.config.model.part import Name, Part


class Namespace(Part, frozen=True):
    """Kind of identifier. `normalise`: normal form of its values.

    `trim` removes spaces at the ends; `lower` also converts to lower case; `email` does both and
    refuses texts that are not addresses; `phone` converts to E.164 (`+34600111222`, with an
    extension `+34911234567;ext=12`) and refuses texts that are not numbers.

    `limit`: maximum of identifiers of this kind that are linked to one identifier; further ones are
    refused.
    """

    name: Name
    normalise: Literal["none", "trim", "lower", "email", "phone"] = "trim"
    limit: Annotated[int, Meta(ge=1)] | None = None


PLACEHOLDERS: Final = (
    *("null", "nil", "none", "undefined", "nan", "na", "n/a", "#n/a", "(not set)", "not set"),
    *("[object object]", "object object", "true", "false", "empty", "default", "-1"),
    *("anonymous", "anon", "guest", "visitor", "unknown", "user", "customer", "test"),
    *("id", "email", "user_id", "userid", "customer_id", "distinct_id", "distinctid"),
    *("not_authenticated", "not authenticated", "logged_out", "not_logged_in"),
    *("ffffffff-ffff-ffff-ffff-ffffffffffff", "9774d56d682e549c"),
)
"""Values that programs send for nobody: empty values of languages and tools as text, names of
fields, words for visitors; the max UUID, and the id that a series of Android devices shared."""
NO_ADDRESSES: Final = (
    "(no|not|do[-_.]?not)[-_.]?reply@.*",
    "(null|nil|none|undefined|nan|unknown|anonymous|no[-_.]?e?mail)@.*",
)
"""Mailboxes that nobody reads, which shops and tills enter for customers without an address."""


class Identity(Part, frozen=True):
    """identity.yaml; `namespaces` from the strongest to the weakest.

    `user_id` and `anonymous_id` name the namespaces of Segment's `userId` and `anonymousId`.
    `phone_region` (ISO 3166, such as ES) is where phone numbers without a country code are.
    `max_identifiers`: maximum of identifiers that are linked to one person's top identifier, itself
    included; links of further identifiers are refused, and their interactions are processed without
    these links.
    `blocked_values` (whatever their case, and in quotes or brackets) and values that match one of
    `blocked_patterns` (regular expressions of RE2 for the whole value) identify nobody; nor do
    values without a letter or a digit other than 0, such as `-` or the nil UUID.
    """

    namespaces: Annotated[tuple[Namespace, ...], Meta(min_length=1)]
    user_id: Name = "customer_id"
    anonymous_id: Name = "cookie"
    phone_region: Annotated[str, Meta(pattern="^[A-Z]{2}$")] | None = None
    max_identifiers: Annotated[int, Meta(ge=1)] = 100
    blocked_values: tuple[str, ...] = PLACEHOLDERS
    blocked_patterns: tuple[str, ...] = NO_ADDRESSES
    max_length: Annotated[int, Meta(ge=1, le=4096)] = 1024
