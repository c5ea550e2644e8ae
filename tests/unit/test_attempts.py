"""Retries of messages without ids."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.gateway.attempts import Attempts

_BODY = b'{"type": "page", "userId": "u"}'


@given(st.floats(0, 1_000))
def test_equal_body_is_a_retry_for_five_minutes_after_a_failure(passed_s: float) -> None:
    now_s = [0.0]
    attempts = Attempts(lambda: now_s[0])
    first_ids = attempts.ids("shop", _BODY)
    attempts.add("shop", _BODY, first_ids)
    now_s[0] = passed_s
    assert (attempts.ids("shop", _BODY)() == first_ids()) is (passed_s <= 300)
    assert attempts.ids("bank", _BODY)() != attempts.ids("shop", _BODY)()


def test_equal_body_after_an_acknowledgement_gets_new_ids() -> None:
    attempts = Attempts()
    attempts.add("shop", _BODY, attempts.ids("shop", _BODY))
    retry = attempts.ids("shop", _BODY)
    attempts.remove("shop", _BODY)
    assert attempts.ids("shop", _BODY)() != retry()
