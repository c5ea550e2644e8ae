"""How equal identifiers are made equal, by kind of identifier."""

from collections.abc import Callable
from functools import partial
from typing import Final

import phonenumbers

from pipeline.config import model

Normaliser = Callable[[str], str | None]
"""The normal form of a value; None when it is none of its kind."""


def normaliser(space: model.Namespace, phone_region: str | None) -> Normaliser:
    """The one that identity.yaml asks for."""
    if space.normalise == "phone":
        return partial(_phone, region=phone_region)
    return _PLAIN[space.normalise]


def known_region(region: str) -> bool:
    """Whether phone numbers can be read as numbers of this country (ISO 3166)."""
    return region in phonenumbers.SUPPORTED_REGIONS


def _email(value: str) -> str | None:
    address = value.strip().lower()
    user, at, domain = address.rpartition("@")
    fits = user and at and domain and not any(letter.isspace() for letter in address)
    return address if fits else None


def _phone(value: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


_PLAIN: Final[dict[str, Normaliser]] = {
    "none": str,
    "trim": str.strip,
    "lower": lambda value: value.strip().lower(),
    "email": _email,
}
