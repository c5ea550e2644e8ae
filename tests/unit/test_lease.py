"""A lease that has ended is never held again, and cannot be renewed."""

from hypothesis import given
from hypothesis import strategies as st

from agents.transport.lease import Lease

_LEASE_S = 9.0


@given(st.lists(st.tuples(st.floats(0, 2 * _LEASE_S), st.booleans()), max_size=30))
def test_lease_ends_with_the_first_late_renewal(
    steps: list[tuple[float, bool]],
) -> None:
    now_s = 0.0
    lease = Lease(_LEASE_S, lambda: now_s)
    assert lease.is_held
    assert lease.renew()
    renewed_at_s, is_over = now_s, False
    for step_s, is_renewal in steps:
        now_s += step_s
        is_over = is_over or now_s >= renewed_at_s + _LEASE_S
        assert lease.is_held is not is_over
        if is_renewal:
            assert lease.renew() is not is_over
            renewed_at_s = now_s
            assert lease.is_held is not is_over
