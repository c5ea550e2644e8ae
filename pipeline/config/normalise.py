"""Normal forms of identifiers, by namespace."""

from collections.abc import Callable
from functools import partial
from typing import Final

import phonenumbers

from pipeline.config import model

_INTERNATIONAL_PREFIX: Final = "00"
"""International prefix of most countries, instead of the plus."""

Normaliser = Callable[[str], str | None]
"""Function from a value to its normal form; None for an invalid value."""


def normaliser(namespace: model.Namespace, phone_region: str | None) -> Normaliser:
    """Return the normaliser that identity.yaml names."""
    if namespace.normalise == "phone":
        return partial(_phone, region=phone_region)
    return _NORMALISERS[namespace.normalise]


def is_known_region(region: str) -> bool:
    """Return whether phone numbers of this country (ISO 3166) can be parsed."""
    return region in phonenumbers.SUPPORTED_REGIONS


def _email(value: str) -> str | None:
    address = value.strip().lower()
    user, at_sign, domain = address.rpartition("@")
    is_valid = user and at_sign and domain and not any(letter.isspace() for letter in address)
    return address if is_valid else None


def _phone(value: str, region: str | None) -> str | None:
    """Return a number in E.164, with its extension in the form of RFC 3966.

    Extensions of one switchboard belong to several people. A number without an area code is
    refused, since it is ambiguous.
    """
    text = value.strip()
    if region is None and text.startswith(_INTERNATIONAL_PREFIX):
        text = "+" + text.removeprefix(_INTERNATIONAL_PREFIX)
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    validity = phonenumbers.is_possible_number_with_reason(number)
    if validity != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{e164};ext={number.extension}" if number.extension else e164


_NORMALISERS: Final[dict[str, Normaliser]] = {
    "none": str,
    "trim": str.strip,
    "lower": lambda value: value.strip().lower(),
    "email": _email,
}
