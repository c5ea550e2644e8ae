"""Check of a file against its schema, with messages for authors."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from pipeline.conditions import Problem, did_you_mean
from pipeline.conditions.duration import DURATION_PATTERN
from pipeline.conditions.parse import NAME_PATTERN
from pipeline.conditions.schema import Schema
from pipeline.config.model import CURRENCY_PATTERN, SECRET_PATTERN, TIME_OF_DAY_PATTERN
from pipeline.config.odd_texts import invisible_character_in_name, number_remedy, serial_date
from pipeline.config.schema import FileKind, schema_without_conditions

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_TYPES: Final = {
    "object": "fields",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "nothing",
}
_SECRETS: Final = ("write_key", "key", "secret", "private_key", "passphrase", "password")
"""Fields whose values are not shown in messages."""

_HIDDEN_VALUE: Final = "what is written"
_DATES: Final = ("starts", "ends", "since", "earliest")
_PATTERNS: Final = {
    NAME_PATTERN: "not a name: a letter, then letters, digits, '_', '.' or '-'",
    SECRET_PATTERN: "not the name of a secret: write ${NAME}, and set this variable in its process",
    DURATION_PATTERN: "not a duration such as 30s, 5m, 12h, 7d",
    CURRENCY_PATTERN: "not a currency: write its three capital letters, such as EUR",
    TIME_OF_DAY_PATTERN: 'not a time of day such as "22:00", in quotes',
}


def shape_problems(kind: FileKind, value: object) -> list[Problem]:
    """Return all problems of the form of `value`, except its conditions."""
    from jsonschema import Draft202012Validator  # needed only for folders

    errors = Draft202012Validator(schema_without_conditions(kind)).iter_errors(value)
    return [problem for error in errors for problem in _problems(error)]


def _problems(error: "ValidationError") -> Iterator[Problem]:
    path = tuple(error.absolute_path)
    if error.validator == "anyOf" and error.context:
        for alternative_error in _nearest_errors(error.context):
            yield from _problems(alternative_error)
    elif error.validator == "additionalProperties":
        fields: Any = cast(Schema, error.schema)["properties"]
        for name in cast(Any, error.instance):
            if name not in fields:
                message = f"unknown field {name!r}: {did_you_mean(name, fields)}"
                yield Problem((*path, name), message)
    elif error.validator == "required":
        yield Problem(path, f"{_missing_field(error)} is missing here")
    else:
        value_text = _value_text(path, error.instance)
        yield Problem(path, _description(error, value_text) + _remedy(error, path, value_text))


def _nearest_errors(context: Sequence["ValidationError"]) -> list["ValidationError"]:
    """Return the errors of the first alternative with the value's type, or else of the first that
    is not `null`."""
    alternatives: dict[object, list[ValidationError]] = {}
    for error in context:
        if error.schema != {"type": "null"}:
            alternatives.setdefault(error.relative_schema_path[0], []).append(error)
    groups = list(alternatives.values())
    return next((group for group in groups if not any(map(_is_of_other_type, group))), groups[0])


def _is_of_other_type(error: "ValidationError") -> bool:
    return error.validator == "type" and not error.relative_path


def _missing_field(error: "ValidationError") -> str:
    absent_fields = (
        repr(name)
        for name in cast(Any, error.validator_value)
        if name not in cast(Any, error.instance)
    )
    return next(name for name in absent_fields if error.message.startswith(name))


def _description(error: "ValidationError", value_text: str) -> str:
    requirement: Any = error.validator_value
    value: Any = error.instance
    match error.validator:
        case "type":
            return f"expected {_TYPES[requirement]}, found {value_text}"
        case "enum":
            return f"{value_text}: {_choice(value, requirement)}"
        case "pattern":
            return f"{value_text} is {_PATTERNS.get(requirement, f'not of the form {requirement}')}"
        case "minItems":
            return f"the list needs {requirement} or more"
        case "minLength":
            return f"needs {requirement} characters or more"
        case "minimum":
            return f"{value} is too small: {requirement} or more"
        case "maximum":
            return f"{value} is too large: {requirement} or less"
        case "exclusiveMinimum":
            return f"{value} is too small: more than {requirement}"
        case "exclusiveMaximum":
            return f"{value} is too large: less than {requirement}"
        case _:
            return error.message


def _remedy(error: "ValidationError", path: tuple[str | int, ...], value_text: str) -> str:
    """Return the remedy for the value, if it follows from the value."""
    value: Any = error.instance
    match error.validator, error.validator_value, value:
        case "type", "number" | "integer", str() if value_text != _HIDDEN_VALUE:
            return f": {number_remedy(value)}"
        case "type", "string", bool() | int() | float() if value_text != _HIDDEN_VALUE:
            return f": {_text_remedy(error, path, value)}"
        case "type", "string", None:
            return ": put a text that begins with # in quotation marks"
        case "pattern", _, str() if invisible_character_in_name(value.strip()) is not None:
            return f"; it has an invisible character ({invisible_character_in_name(value.strip())})"
        case "maximum" | "exclusiveMaximum", 1, int() | float() if 1 < value <= 100:
            return f" ({value:g} % is {value / 100:g})"
        case _:
            return ""


def _text_remedy(error: "ValidationError", path: tuple[str | int, ...], value: float) -> str:
    pattern = cast(Schema, error.schema).get("pattern")
    date = serial_date(value) if path[-1:] and path[-1] in _DATES else None
    if date is not None:
        return f"write {date}"
    if pattern == DURATION_PATTERN:
        return "add its unit: 30s, 5m, 12h or 7d"
    return f'put it in quotation marks, "{str(value).lower()}"'


def _choice(value: object, choices: Sequence[Any]) -> str:
    if isinstance(value, str):
        return did_you_mean(value, choices)
    return f"one of {', '.join(map(str, choices))}"


def _value_text(path: tuple[str | int, ...], value: object) -> str:
    is_secret = bool(path) and path[-1] in _SECRETS and isinstance(value, str | int | float)
    return _HIDDEN_VALUE if is_secret else _format_value(value)


def _format_value(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():
            return f"the text {value[:60]!r}"
        case list():
            return "a list"
        case _:
            return "fields"
