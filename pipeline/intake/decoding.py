"""Decoding of JSON into records, with refusals that name the field at fault."""

import re
from codecs import BOM_UTF8
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from pipeline.intake import scan
from pipeline.intake.refusal import Refusal, refuse
from pipeline.intake.surrogates import replace_half_surrogates

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

_MANY_COMMAS: Final = 50_000
"""Number of commas above which the items are counted before any is decoded."""

_PATH: Final = re.compile(r"`\$\.?(.*)`$")
_MISSING: Final = re.compile(r"missing required field `([^`]*)`")
_ITEM_FAULT_CODES: Final = ("not_finite", "invalid_json", "too_deep")


def decode(raw: bytes | msgspec.Raw, decoder: "msgspec.json.Decoder[T]") -> T | Refusal:
    """Decode a record; the refusal names the field at fault.

    A byte order mark is ignored, and half surrogate pairs are replaced.

    msgspec stops at the interpreter's recursion limit, so that deep nesting raises RecursionError.
    """
    try:
        return decoder.decode(raw)
    except RecursionError:
        return refuse("too_deep", None, "the JSON is nested too deeply")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if bytes(raw).startswith(BOM_UTF8):
            return decode(bytes(raw).removeprefix(BOM_UTF8), decoder)
        if not isinstance(error, msgspec.ValidationError):
            repair = replace_half_surrogates(bytes(raw))
            if repair != raw:
                return decode(repair, decoder)
        field = scan.find_non_finite_number(bytes(raw))
        if field is not None:
            message = f"{field or 'the body'} is not a finite number"
            return refuse("not_finite", field or None, message)
        if isinstance(error, msgspec.ValidationError):
            return _name_field(error)
        return refuse("invalid_json", None, f"the body is not JSON in UTF-8: {error}")


def decode_parts(
    raw: bytes, decoder: "msgspec.json.Decoder[S]", parts: str, max_items: int
) -> S | Refusal:
    """Decode a record whose field `parts` is a list of at most `max_items` items of raw JSON.

    The decoder refuses the whole text for one item that is not strict JSON. The text is then split
    around its items, so that only that item is refused, when it is decoded.
    """
    raw = raw.removeprefix(BOM_UTF8)
    if raw.count(b",") > _MANY_COMMAS:
        split = scan.split_array(raw, parts, max_items)
        if split is not None and len(split.parts) > max_items:
            return refuse_long_list(parts, max_items)
    result = decode(raw, decoder)
    if isinstance(result, Refusal) and result.code in _ITEM_FAULT_CODES:
        result = _decode_split(raw, decoder, parts, max_items) or result
    if not isinstance(result, Refusal) and len(getattr(result, parts) or ()) > max_items:
        return refuse_long_list(parts, max_items)
    return result


def refuse_long_list(field: str, max_items: int) -> Refusal:
    """Refuse a list with too many items, before any of them is written."""
    message = f"{field} may have {max_items} items in one request: none was accepted, send fewer"
    return Refusal(413, "too_many_items", message, field)


def _decode_split(
    raw: bytes, decoder: "msgspec.json.Decoder[S]", parts: str, max_items: int
) -> S | Refusal | None:
    """Decode the record around its items; None where the fault is not within an item."""
    split = scan.split_array(raw, parts, max_items)
    if split is None:
        return None
    if len(split.parts) > max_items:
        return refuse_long_list(parts, max_items)
    rest = decode(split.rest, decoder)
    if isinstance(rest, Refusal) or getattr(rest, parts):
        return None
    return replace(rest, **{parts: tuple(map(msgspec.Raw, split.parts))})


def _name_field(error: msgspec.ValidationError) -> Refusal:
    text = str(error)
    field_path, missing_field = _PATH.search(text), _MISSING.search(text)
    names = [match[1] for match in (field_path, missing_field) if match and match[1]]
    return refuse(
        "invalid_field", ".".join(names) or None, text.replace("`", "").partition(" - at ")[0]
    )
