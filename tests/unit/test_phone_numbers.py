"""Phone numbers: every notation of a number is one identifier; incomplete ones identify nobody."""

import pytest

from pipeline.config.model import Namespace
from pipeline.config.normalise import normaliser

_PHONE = Namespace("phone", normalise="phone")


@pytest.mark.parametrize(
    ("region", "text", "identifier"),
    [
        ("ES", "911 234 567", "+34911234567"),
        ("ES", "+34 911-234-567", "+34911234567"),
        ("ES", "0034 911 234 567", "+34911234567"),
        ("ES", "tel:+34-911-234-567", "+34911234567"),
        ("GB", "020 7946 0018", "+442079460018"),
        ("GB", "+44 (0)20 7946 0018", "+442079460018"),
        ("IT", "06 6982 1234", "+390669821234"),
        ("US", "011 34 911 234 567", "+34911234567"),
        ("US", "1-800-FLOWERS", "+18003569377"),
        ("US", "(650) 253-0000", "+16502530000"),
        (None, "+34911234567", "+34911234567"),
        (None, "0034911234567", "+34911234567"),
        ("EG", "٠٢٢٧٩٢٨٠٠٠", "+20227928000"),
    ],
)
def test_every_notation_of_a_number_is_one_identifier(
    region: str | None, text: str, identifier: str
) -> None:
    assert normaliser(_PHONE, region)(text) == identifier


@pytest.mark.parametrize(
    "text",
    [
        "911 234 567 x12",
        "911234567 ext. 12",
        "+34911234567;ext=12",
        "tel:+34-911-234-567;ext=12",
        "911 234 567 extensión 12",
        "911234567#12",
    ],
)
def test_extension_is_part_of_the_number(text: str) -> None:
    normalise = normaliser(_PHONE, "ES")
    assert normalise(text) == "+34911234567;ext=12"
    assert normalise("+34911234567;ext=12") == "+34911234567;ext=12"
    assert normalise("911234567 ext. 012") == "+34911234567;ext=012"
    assert normalise("911234567") == "+34911234567"


@pytest.mark.parametrize(
    ("region", "text"),
    [
        (None, "911234567"),
        ("ES", "hello"),
        ("ES", "12"),
        ("ES", ""),
        ("ES", "+999 123"),
        ("ES", "911 234 567 / 911 234 568"),
        ("US", "253-0000"),
        ("US", "0034911234567"),
    ],
)
def test_incomplete_phone_numbers_identify_nobody(region: str | None, text: str) -> None:
    assert normaliser(_PHONE, region)(text) is None
