"""Quiet hours follow each customer's local clock, also when it changes to summer time."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import cases
from tests.support.deciding import Life, campaign, fates, hero, offer, problems, world

_NIGHT = {"quiet": "night", "from": "22:00", "to": "08:00", "zone": "Europe/Madrid"}


def _life(**rule: object) -> Life:
    campaigns = [
        campaign("sales", offer("o", 9), offer("page", 1, hero("page-hero"))),
        campaign("receipt", offer("receipt", 1), purpose="transactional"),
    ]
    policies = {"quiet_hours": [{**_NIGHT, **rule}]}
    return Life(world(traits=("home",), campaigns=campaigns, policies=policies))


def _epoch_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("time", "is_quiet"),
    [
        # Summer time in Madrid begins on 2024-03-31 and ends on 2024-10-27, both at 01:00 UTC.
        ("2024-03-30T20:59:59+00:00", False),
        ("2024-03-30T21:00:00+00:00", True),
        ("2024-03-31T05:59:59+00:00", True),
        ("2024-03-31T06:00:00+00:00", False),
        ("2024-03-30T06:59:59+00:00", True),
        ("2024-03-30T07:00:00+00:00", False),
        ("2024-10-26T19:59:59+00:00", False),
        ("2024-10-26T20:00:00+00:00", True),
        ("2024-10-27T06:59:59+00:00", True),
        ("2024-10-27T07:00:00+00:00", False),
    ],
)
def test_quiet_hours_have_the_bounds_of_the_local_clock(time: str, is_quiet: bool) -> None:
    life = _life()
    decision = life.interact("Go", _epoch_ms(time))
    assert (fates(decision)["o-email"] == "quiet hours night") is is_quiet


def test_requests_and_transactional_messages_are_exempt_from_quiet_hours() -> None:
    life = _life()
    life.interact("Go", _epoch_ms("2024-01-01T23:00:00+00:00"), ask=["hero"])
    assert sorted(life.treatments()) == ["page-hero", "receipt-email"]


@pytest.mark.parametrize(
    ("home", "context", "is_quiet"),
    [
        (None, None, False),
        (None, "Asia/Tokyo", True),
        ("Asia/Tokyo", None, True),
        ("Asia/Tokyo", "Europe/Madrid", True),
        ("Europe/Madrid", "Asia/Tokyo", False),
        ("Mars/Olympus", "Asia/Tokyo", True),
        ("../etc/passwd", "nowhere", False),
    ],
)
def test_zone_of_the_customer_precedes_that_of_the_device_and_the_default(
    home: str | None, context: str | None, is_quiet: bool
) -> None:
    life = _life(trait="home")
    midnight_ms = _epoch_ms("2024-01-15T15:00:00+00:00")  # in Tokyo
    properties = {} if home is None else {"home": home}
    life.interact("Go", midnight_ms, zone=context, **properties)
    assert ("o-email" not in life.treatments()) is is_quiet


@settings(max_examples=cases(100), deadline=None)
@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    st.integers(0, 1439),
    st.integers(1, 1439),
    st.integers(-12, 12),
)
def test_zone_without_daylight_saving_is_plain_arithmetic(
    moment: datetime, begin_minute: int, duration_minutes: int, offset_hours: int
) -> None:
    end_minute = (begin_minute + duration_minutes) % 1440
    life = _life(
        **{
            "from": _clock(begin_minute),
            "to": _clock(end_minute),
            "zone": f"Etc/GMT{-offset_hours:+d}",
        }
    )
    local = moment + timedelta(hours=offset_hours)
    age_minutes = (local.hour * 60 + local.minute - begin_minute) % 1440
    life.interact("Go", round(moment.replace(tzinfo=UTC).timestamp() * 1000))
    assert ("o-email" not in life.treatments()) is (age_minutes < duration_minutes)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


@pytest.mark.parametrize(
    ("rule", "place", "words"),
    [
        ({"zone": "Europe/Madird"}, "zone", "no time zone 'Europe/Madird'"),
        ({"to": "22:00"}, "to", "`from` and `to` are equal"),
        ({"trait": "hom"}, "trait", "did you mean 'home'?"),
        ({"for": {"purpose": "transactional"}}, "for/purpose", "does not apply to transactional"),
        ({"for": {"channel": ["email", "emial"]}}, "for/channel/1", "did you mean 'email'?"),
    ],
)
def test_problems_name_their_place(rule: dict[str, object], place: str, words: str) -> None:
    policies = {"quiet_hours": [{**_NIGHT, **rule}]}
    [(path, message)] = problems(traits=("home",), policies=policies)
    assert path == f"policies/quiet_hours/0/{place}"
    assert words in message
