"""Waits that receivers ask for, in seconds or by a date."""

import time
from email.utils import formatdate

import pytest

from pipeline.delivery.retries import retry_after_s


def test_date_counts_from_now() -> None:
    assert 30 < retry_after_s(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert retry_after_s(formatdate(time.time() - 60, usegmt=True)) == 0
    zoneless_date = formatdate(time.time() + 60, usegmt=True).replace("GMT", "-0000")
    assert 30 < retry_after_s(zoneless_date) <= 60


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), (" 7 ", 7), ("0", 0), ("-5", 0), ("1.5", 0), ("soon", 0), ("", 0), (None, 0)],
)
def test_wait_is_in_seconds_and_nonsense_is_ignored(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds


def test_impossible_dates_ask_for_no_wait() -> None:
    for header in ("Mon, 32 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 99999 00:00:00 GMT", "²"):
        assert retry_after_s(header) == 0
