"""JSON Schema of a condition's written form; it accepts what `parse` accepts.

It cannot express the maximum depth.
"""

from typing import Final

from pipeline.conditions.duration import DURATION_PATTERN
from pipeline.conditions.parse import CONTEXT_PATTERN, EVENT_FIELDS, KINDS, NAME_PATTERN

Schema = dict[str, object]

REF: Final = "#/$defs/Condition"

_SELF: Final[Schema] = {"$ref": REF}
_TEXT: Final[Schema] = {"type": "string", "minLength": 1}
_NAME: Final[Schema] = {"type": "string", "pattern": NAME_PATTERN}
_DURATION: Final[Schema] = {"type": "string", "pattern": DURATION_PATTERN}
_LIST: Final[Schema] = {
    "type": "array",
    "minItems": 1,
    "items": {"type": ["string", "number", "boolean"]},
}


def _one_key(key: str, value: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {key: value},
        "required": [key],
        "additionalProperties": False,
    }


def _one_or_more(item: Schema) -> Schema:
    return {"anyOf": [item, {"type": "array", "minItems": 1, "items": item}]}


def _value(*types: str) -> Schema:
    """Return the schema of a constant of one of `types`, or of another subject to compare with."""
    subjects = [_one_key("trait", _NAME), _one_key("property", _TEXT)]
    return {"anyOf": [{"type": list(types)}, *subjects]}


_OPERATORS: Final[Schema] = {
    **dict.fromkeys(("is", "is_not"), _value("string", "number", "boolean")),
    **dict.fromkeys(("in", "not_in"), _LIST),
    **dict.fromkeys(("gt", "gte", "lt", "lte"), _value("string", "number")),
    "contains": {"anyOf": [_TEXT, {"type": ["number", "boolean"]}]},
    "starts_with": _TEXT,
    "exists": {"type": "boolean"},
    **dict.fromkeys(("within", "older_than"), _DURATION),
}


_SUBJECTS: Final[Schema] = {
    "trait": _NAME,
    "property": _TEXT,
    "context": {"type": "string", "pattern": CONTEXT_PATTERN},
    "event": {"enum": list(EVENT_FIELDS)},
    "derived": _NAME,
}

_COMPARISON: Final[Schema] = {
    "type": "object",
    "properties": {**_SUBJECTS, **_OPERATORS},
    "oneOf": [{"required": [subject]} for subject in _SUBJECTS],
    "minProperties": 2,
    "additionalProperties": False,
}

_FIELDS: Final[Schema] = {
    "type": "object",
    "properties": {
        "name": _one_or_more(_TEXT),
        "kind": _one_or_more({"enum": list(KINDS)}),
        "channel": _one_or_more(_TEXT),
        "source": _one_or_more(_TEXT),
    },
    "minProperties": 1,
    "additionalProperties": False,
}

_CONDITIONS: Final[Schema] = {"type": "array", "minItems": 1, "items": _SELF}

_SEQUENCE: Final[Schema] = {
    "type": "object",
    "properties": {
        "sequence": {"type": "array", "minItems": 2, "items": _SELF},
        "within": _DURATION,
        "without": _SELF,
        "for": _DURATION,
    },
    "required": ["sequence", "within"],
    "additionalProperties": False,
}

_ABSENCE: Final[Schema] = {
    "type": "object",
    "properties": {"absence": _SELF, "after": _SELF, "for": _DURATION},
    "required": ["absence", "after", "for"],
    "additionalProperties": False,
}

CONDITION: Final[Schema] = {
    "title": "Condition",
    "description": "A condition over an interaction, the profile and its segments.",
    "oneOf": [
        _one_key("all", _CONDITIONS),
        _one_key("any", _CONDITIONS),
        _one_key("not", _SELF),
        _one_key("segment", _NAME),
        _one_key("entered", _NAME),
        _FIELDS,
        _COMPARISON,
        _SEQUENCE,
        _ABSENCE,
    ],
}
"""Schema of a condition, at `$defs/Condition` of the schemas that use it."""
