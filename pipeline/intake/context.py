"""Context of a message (Segment's `context`), read field by field.

Clients' libraries fill it in, so a field of the wrong type is left out, without refusing the other
fields or the message. PHP's `[]` is an empty object.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from pipeline.intake.flatten import MAX_DEPTH
from pipeline.intake.refusal import Refusal, refuse
from pipeline.model.interaction import Context, text_of

Fields: TypeAlias = Mapping[str, Any]

_TEXTS: Final = ("ip", "user_agent", "url", "referrer", "locale", "timezone")
_NO_FIELDS: Final[Fields] = {}


def fields(value: object) -> Fields:
    """Return the fields of an object; none for any other value."""
    return value if isinstance(value, dict) else _NO_FIELDS


def merge_context(batch_context: object, own_context: object) -> Fields:
    """Merge a message's own context over its batch's, object by object.

    A null leaves the batch's value, except within `traits`, where it clears the trait.
    """
    context = _merge(fields(batch_context), fields(own_context), keep_nulls=False)
    traits = fields(own_context).get("traits")
    if isinstance(traits, dict):
        return {
            **context,
            "traits": _merge(fields(fields(batch_context).get("traits")), traits, True),
        }
    return context


def context_of(context: Fields, ip: str | None, user_agent: str | None = None) -> Context:
    """Return the fields that Kairos uses; `ip` and `user_agent` replace missing ones."""
    page = fields(context.get("page"))
    consent = fields(fields(context.get("consent")).get("categoryPreferences"))
    return Context(
        ip=_text(context.get("ip")) or ip,
        user_agent=_text(context.get("userAgent")) or user_agent,
        url=_text(page.get("url")),
        referrer=_text(page.get("referrer")),
        locale=_text(context.get("locale")),
        timezone=_text(context.get("timezone")),
        campaign=dict(_tags(fields(context.get("campaign")))),
        consent={name: value for name, value in consent.items() if isinstance(value, bool)},
    )


def context_in_file(context: Fields) -> Context:
    """Return the context of an Interaction in JSON, whose fields are named as in the topic."""
    if not context:
        return Context()
    campaign, consent = fields(context.get("campaign")), fields(context.get("consent"))
    return Context(
        **{name: _text(context.get(name)) for name in _TEXTS},
        campaign=dict(_tags(campaign)),
        consent={name: value for name, value in consent.items() if isinstance(value, bool)},
    )


def details(value: object, field: str) -> Fields | Refusal:
    """Return the properties or traits of a message, which must be an object if present."""
    if value is None or value == [] or isinstance(value, dict):
        return fields(value)
    return refuse("invalid_field", field, f"{field} must be an object")


def _merge(base: Fields, overlay: Fields, keep_nulls: bool, depth: int = 0) -> Fields:
    union = dict(base)
    for name, value in overlay.items():
        if isinstance(value, dict) and depth < MAX_DEPTH:
            union[name] = _merge(fields(union.get(name)), value, keep_nulls, depth + 1)
        elif value is not None or keep_nulls:
            union[name] = value
    return union


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _tags(campaign: Fields) -> Iterator[tuple[str, str]]:
    for name, value in campaign.items():
        if isinstance(value, bool | int | float | str):
            yield name, text_of(value)
