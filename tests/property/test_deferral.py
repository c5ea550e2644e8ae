"""Messages deferred by quiet hours are decided again when the quiet hours end, by the facts of that
time."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.conditions import Facts
from pipeline.config.compiled import CompiledCandidate, CompiledQuietHours, CompiledScope
from pipeline.config.zones import zone
from pipeline.decisioning.explain import explain, run_again
from pipeline.decisioning.quiet_hours import begin_of_next_quiet_hours, end_of_quiet_hours, is_quiet
from pipeline.decisioning.state import ContactState
from pipeline.identity.requests import forget
from pipeline.model.decision import Cancellation, Decision
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier
from pipeline.model.stages import Segmented
from tests.support.cases import cases
from tests.support.deciding import (
    ADA,
    Life,
    campaign,
    fates,
    find_rejecting_rules,
    hero,
    offer,
    problems,
    world,
)

_QUIET_HOURS = {"quiet": "night", "from": "22:00", "to": "08:00", "zone": "Europe/Madrid"}
_MAIL = {"treatment": "mail", "channel": "email", "deadline": "12h"}
_COMPLAINT = {"suppression": "complained", "duration": "5m", "when": {"name": "Complaint"}}


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


_EVENING = _ms("2024-01-15T22:30:00+01:00")
_MORNING = _ms("2024-01-16T08:00:00+01:00")


def _life(
    *other_campaigns: dict[str, Any], policies: dict[str, Any] | None = None, **parts: Any
) -> Life:
    sales = campaign("sales", offer("o", 9, _MAIL), **{"defer": True, **parts})
    rules = {"quiet_hours": [_QUIET_HOURS], **(policies or {})}
    return Life(
        world(traits=("home", "bought"), campaigns=[sales, *other_campaigns], policies=rules)
    )


def _advance(life: Life, now_ms: int) -> list[Any]:
    life.emits = list(life.flow.advance(now_ms))
    assert not life.flow.dead_letters, life.flow.dead_letters
    return [emit.value for emit in life.emits]


def _decisions(values: list[Any]) -> list[Decision]:
    return [value for value in values if isinstance(value, Decision)]


def test_message_held_by_quiet_hours_is_sent_in_the_morning() -> None:
    life = _life()
    first_decision = life.interact("Go", _EVENING)
    assert fates(first_decision) == {"mail": "quiet hours night"}
    [deferral] = first_decision.deferred
    assert (deferral.until, deferral.deadline_at) == (_MORNING, _EVENING + 12 * 3_600_000)
    assert life.treatments() == []
    assert _advance(life, _MORNING - 1) == []
    [second_decision] = _decisions(_advance(life, _MORNING))
    [action] = life.actions()
    assert (action.treatment, action.created_at) == ("mail", _MORNING)
    assert action.deadline_at == deferral.deadline_at
    assert second_decision.again is not None
    assert (second_decision.again.first, second_decision.event_id) == (
        first_decision.decision_id,
        first_decision.event_id,
    )
    assert _advance(life, _MORNING + 86_400_000) == []


def test_message_is_dropped_where_its_campaign_does_not_defer() -> None:
    life = _life(defer=False)
    assert life.interact("Go", _EVENING).deferred == ()
    assert _advance(life, _MORNING) == []


def test_message_whose_deadline_is_before_the_end_of_the_night_is_not_deferred() -> None:
    mail = {**_MAIL, "deadline": "9h"}
    life = Life(
        world(
            campaigns=[campaign("sales", offer("o", 9, mail), defer=True)],
            policies={"quiet_hours": [_QUIET_HOURS]},
        )
    )
    assert life.interact("Go", _EVENING).deferred == ()
    assert life.interact("Go", _EVENING + 3_600_000).deferred != ()


def test_morning_that_comes_too_late_sends_nothing() -> None:
    life = _life()
    life.interact("Go", _EVENING)
    [second_decision] = _decisions(_advance(life, _EVENING + 12 * 3_600_000))
    assert find_rejecting_rules(second_decision) == {"mail": "applicability/deadline passed"}
    assert life.treatments() == []


def test_deferred_decision_uses_the_facts_of_the_morning() -> None:
    rule = {"rule": "not-bought", "when": {"not": {"trait": "bought", "exists": True}}}
    life = _life(eligibility=[rule])
    life.interact("Go", _EVENING)
    life.interact("Order", _EVENING + 60_000, bought="yes")
    [second_decision] = _decisions(_advance(life, _MORNING))
    assert find_rejecting_rules(second_decision) == {"mail": "eligibility/not-bought"}
    assert life.treatments() == []


def test_cap_that_was_used_up_meanwhile_holds() -> None:
    cap = {"cap": "one-a-day", "per": "all", "max": 1, "window": "24h"}
    page = campaign("page", offer("p", 1, hero("page-hero")))
    life = _life(page, policies={"caps": [cap]})
    life.interact("Go", _EVENING)
    life.interact("View", _EVENING + 60_000, ask=["hero"])
    assert life.treatments() == ["page-hero"]
    [second_decision] = _decisions(_advance(life, _MORNING))
    assert fates(second_decision) == {"mail": "cap one-a-day"}


def test_newest_interaction_replaces_the_deferral_of_its_campaign() -> None:
    life = _life()
    for minute in range(3):
        life.interact("Go", _EVENING + minute * 60_000)
    assert len(_decisions(_advance(life, _MORNING))) == 1
    assert life.treatments() == ["mail"]


def test_segment_left_meanwhile_does_not_count_as_entered() -> None:
    home_segment = {"segment": "left", "when": {"trait": "home", "is": "away"}}
    sales = campaign("sales", offer("o", 9, _MAIL), defer=True, trigger={"entered": "left"})
    rules = world(
        traits=("home",),
        segments=[home_segment],
        campaigns=[sales],
        policies={"quiet_hours": [_QUIET_HOURS]},
    )
    staying_life, returning_life = Life(rules), Life(rules)
    for life in (staying_life, returning_life):
        assert life.interact("Go", _EVENING, home="away").deferred != ()
    returning_life.interact("Go", _EVENING + 60_000, home="here")
    for life in (staying_life, returning_life):
        _advance(life, _MORNING)
    assert (staying_life.treatments(), returning_life.treatments()) == (["mail"], [])


@pytest.mark.parametrize(
    ("evening", "morning"),
    [
        ("2024-03-30T23:00:00+01:00", "2024-03-31T08:00:00+02:00"),
        ("2024-10-26T23:00:00+02:00", "2024-10-27T08:00:00+01:00"),
    ],
)
def test_night_in_which_clocks_change_ends_by_the_local_clock(evening: str, morning: str) -> None:
    [deferral] = _life().interact("Go", _ms(evening)).deferred
    assert deferral.until == _ms(morning)


def test_quiet_hours_are_in_the_customers_zone() -> None:
    rule = {**_QUIET_HOURS, "trait": "home"}
    life = _life(policies={"quiet_hours": [rule]})
    midnight_in_tokyo = _ms("2024-01-15T15:00:00+00:00")
    [deferral] = life.interact("Go", midnight_in_tokyo, home="Asia/Tokyo").deferred
    assert deferral.until == _ms("2024-01-16T08:00:00+09:00")


_MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(
    lambda moment: round(moment.replace(tzinfo=UTC).timestamp()) * 1000
)


def _quiet_hours(begin_minute: int, end_minute: int, zone_name: str) -> CompiledQuietHours:
    local_zone = zone(zone_name)
    assert local_zone is not None
    return CompiledQuietHours(
        "night", begin_minute, end_minute, local_zone, None, CompiledScope(())
    )


_RULES = st.builds(
    _quiet_hours,
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.sampled_from(
        ("Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
    ),
)


def _facts_at(now_ms: int) -> Facts:
    return Facts(None, {}, frozenset(), frozenset(), now_ms)


@settings(max_examples=cases(200), deadline=None)
@given(_MOMENTS, _RULES)
def test_deferral_ends_with_the_first_minute_that_is_not_quiet(
    now_ms: int, rule: CompiledQuietHours
) -> None:
    if rule.start_minute == rule.end_minute or not is_quiet(rule, _facts_at(now_ms)):
        return
    end = end_of_quiet_hours(rule, _facts_at(now_ms))
    assert not is_quiet(rule, _facts_at(end))
    minutes = range(now_ms, end, 60_000)
    assert all(is_quiet(rule, _facts_at(time_ms)) for time_ms in minutes)
    assert is_quiet(rule, _facts_at(end - 1))


@settings(max_examples=cases(200), deadline=None)
@given(_MOMENTS, _RULES)
def test_no_message_may_wait_into_the_next_quiet_minute(
    now_ms: int, rule: CompiledQuietHours
) -> None:
    if rule.start_minute == rule.end_minute or is_quiet(rule, _facts_at(now_ms)):
        return
    next_begin = begin_of_next_quiet_hours(_mail(), (rule,), _facts_at(now_ms))
    assert next_begin is not None
    assert is_quiet(rule, _facts_at(next_begin))
    assert not is_quiet(rule, _facts_at(next_begin - 1))
    assert not any(
        is_quiet(rule, _facts_at(time_ms)) for time_ms in range(now_ms, next_begin, 60_000)
    )


def _mail() -> CompiledCandidate:
    [entry] = world(campaigns=[campaign("sales", offer("o", 9, _MAIL))]).config.outbound_entries
    return entry.candidates[0]


def test_decision_that_was_made_again_runs_again_with_the_same_result() -> None:
    life = _life()
    first_decision = life.interact("Go", _EVENING, ask=["hero"], home="Europe/Madrid")
    record = next(
        emit.value
        for emit in life.emits
        if isinstance(emit.value, Segmented) and emit.value.interaction is not None
    )
    [second_decision] = _decisions(_advance(life, _MORNING))
    for decision in (first_decision, second_decision):
        assert run_again(decision, record, life.flow.rules) == decision
    words = explain(second_decision, life.flow.rules.config, "en").words
    subject = "the messages that quiet hours held back at 2024-01-15T21:30:00"
    assert words.startswith(f"This decides again on {subject}")
    assert (
        "waits for the end of quiet hours"
        in explain(first_decision, life.flow.rules.config, "en").words
    )


def test_complaint_cancels_a_deferral() -> None:
    life = _life(policies={"suppressions": [_COMPLAINT]})
    life.interact("Go", _EVENING)
    life.interact("Complaint", _EVENING + 60_000)
    [cancellation] = [emit.value for emit in life.emits if isinstance(emit.value, Cancellation)]
    assert (cancellation.action_id, cancellation.treatment, cancellation.why) == (
        None,
        "mail",
        "complained",
    )
    assert _advance(life, _MORNING) == []


def test_complaint_cancels_no_deferral_beyond_its_scope() -> None:
    life = _life(policies={"suppressions": [_COMPLAINT]}, purpose="service")
    life.interact("Go", _EVENING)
    life.interact("Complaint", _EVENING + 60_000)
    _advance(life, _MORNING)
    assert life.treatments() == ["mail"]


@pytest.mark.parametrize("defers_first", [True, False])
def test_complaint_of_another_identifier_cancels_a_deferral_once_both_merge(
    defers_first: bool,
) -> None:
    life = _life(policies={"suppressions": [_COMPLAINT]})
    cookie, customer = (Identifier("cookie", "k"),), (Identifier("customer_id", "ada"),)
    complaint = ("Complaint", _EVENING + 60_000, customer)
    start = ("Go", _EVENING, cookie)
    for name, time_ms, identifiers in (start, complaint) if defers_first else (complaint, start):
        life.interact(name, time_ms, identifiers=identifiers)
    life.interact("Login", _EVENING + 2 * 3_600_000, identifiers=(*customer, *cookie))
    assert any(isinstance(emit.value, Cancellation) for emit in life.emits)
    assert _decisions(_advance(life, _MORNING)) == []


def test_deferral_moves_with_its_profile() -> None:
    life = _life()
    cookie, customer = Identifier("cookie", "k"), Identifier("customer_id", "ada")
    life.interact("Go", _EVENING, identifiers=(cookie,))
    life.interact("Login", _EVENING + 60_000, identifiers=(customer, cookie))
    [second_decision] = _decisions(_advance(life, _MORNING))
    [action] = life.actions()
    assert action.profile_id == second_decision.profile_id == profile_id(customer)


def test_deferred_message_of_a_forgotten_person_is_not_sent() -> None:
    life = _life()
    life.interact("Go", _EVENING)
    list(life.flow.run(forget(ADA[0], _EVENING + 60_000)))
    assert _decisions(_advance(life, _MORNING)) == []


def test_row_with_a_deferral_is_read_as_it_was_written() -> None:
    life = _life()
    life.interact("Go", _EVENING)
    [state] = life.flow.rows["decisioning"].values()
    assert state.shards.here
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ContactState) == state


def test_transactional_campaign_needs_no_deferral() -> None:
    receipt = campaign("receipt", offer("r", 1), purpose="transactional", defer=True)
    [(place, words)] = problems(campaigns=[receipt])
    assert place == "campaigns/0/defer"
    assert "do not hold transactional messages back" in words
