"""The learner counts each message's feedback once, in any order and over kills."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.decisioning.learning.counting import Tally, TallyChange, add, posterior
from pipeline.learner.ledger import EvidenceLedger, LoggedDecision
from pipeline.model.decision import Choice, Decision, Feedback
from pipeline.model.interaction import Context
from pipeline.model.learning import LearningRecord
from tests.support.deciding import CHANNELS, Life, campaign, hero, offer, world
from tests.support.learning import count_feedback

_HOUR_MS: Final = 3_600_000
_HALF_LIFE_MS: Final = 10**15
_ACTIONS: Final = ("a1", "a2", "a3")


def _decision(number: int, feedback: Sequence[tuple[str, Any]]) -> Decision:
    choices = tuple(
        Choice(f"s{index}", "web", name, "c", "o", f"t-{name}")
        for index, name in enumerate(_ACTIONS)
    )
    records = tuple(Feedback(action, kind, 10**9) for action, kind in feedback)
    return Decision(
        f"d{number}", f"e{number}", "p", "c", number, choices, bin="b", feedback=records
    )


_FEEDBACK = st.tuples(
    st.sampled_from(_ACTIONS),
    st.sampled_from(("tried", "waits", "shown", "released", "reached")),
)
_DECISIONS = st.lists(st.lists(_FEEDBACK, max_size=3), max_size=12)


@settings(max_examples=40)
@given(feedback=_DECISIONS, cuts=st.lists(st.integers(0, 12), max_size=4))
def test_ledger_killed_anywhere_has_each_message_once(
    feedback: list[list[tuple[str, Any]]], cuts: list[int]
) -> None:
    decisions = [_decision(number, reports) for number, reports in enumerate(feedback)]
    # Each decision comes again, as after a redelivery, in the reverse order.
    log = [*decisions, *reversed(decisions)]
    with TemporaryDirectory() as home:
        folder = Path(home) / "evidence"
        ends = sorted({min(position, len(log)) for position in (*cuts, len(log))})
        for end in ends:
            ledger = EvidenceLedger(folder)  # as after a kill: the ledger stores its own offset
            start = ledger.state.offsets.get("0", 0)
            batch = [LoggedDecision(0, index, log[index]) for index in range(start, end)]
            ledger.fold(batch, {0: end}, _HALF_LIFE_MS)
            ledger.close()
        ledger = EvidenceLedger(folder)
        counts = {
            (arm[2], arm[3]): (tally.tried, tally.reached)
            for arm, tally in ledger.tallies.items()
            if tally.tried
        }
        ledger.close()
    assert counts == count_feedback(decisions)


def test_lost_ledger_goes_on_from_the_snapshot() -> None:
    log = [
        _decision(0, [("a1", "tried"), ("a2", "tried")]),
        _decision(1, [("a1", "reached")]),
        _decision(2, [("a2", "reached"), ("a1", "reached"), ("a3", "tried")]),
    ]
    with TemporaryDirectory() as home:
        lost_ledger = EvidenceLedger(Path(home) / "before")
        entries = [LoggedDecision(0, index, decision) for index, decision in enumerate(log)]
        lost_ledger.fold(entries[:2], {0: 2}, _HALF_LIFE_MS)
        posteriors = tuple(posterior(arm, tally) for arm, tally in lost_ledger.tallies.items())
        snapshot = LearningRecord(
            7, "", 0, lost_ledger.state.as_of, posteriors, lost_ledger.state.offsets
        )
        lost_ledger.close()
        new_ledger = EvidenceLedger(Path(home) / "after")
        assert new_ledger.is_new
        new_ledger.restore(snapshot, {})
        new_ledger.fold(entries, {0: 3}, _HALF_LIFE_MS)
        counts = {(arm[2], arm[3]): (t.tried, t.reached) for arm, t in new_ledger.tallies.items()}
        assert new_ledger.state.number == 7
        new_ledger.close()
    assert counts == count_feedback(log)


def test_evidence_of_one_half_life_ago_weighs_half() -> None:
    arm = ("c", "o", "t", "")
    first_tally = add(Tally(), TallyChange(arm, 1_000, 1, 1), 500)
    for order in ((1_500, 1_000), (1_000, 1_500)):
        tally = Tally()
        for time_ms in order:
            tally = add(tally, TallyChange(arm, time_ms, 1, 1), 500)
        assert tally.trials == pytest.approx(1.5)
        assert tally.successes == pytest.approx(1.5)
    assert first_tally.fade(2_000, 500).trials == pytest.approx(0.25)
    reduced_tally = add(first_tally.fade(2_000, 500), TallyChange(arm, 1_000, -1, -1), 500)
    assert (reduced_tally.trials, reduced_tally.tried, reduced_tally.reached) == (0, 0, 0)


def _life(condition: Any = None, **parts: Any) -> Life:
    goal = {"when": condition or {"name": "Bought"}, "window": "1h"}
    mail = {"treatment": "mail", "channel": "email", "p": 0.9}
    sale = campaign("sale", offer("shoes", 100, mail), goal=goal)
    return Life(world(campaigns=[sale], policies={"learning": {"explore": 1e-9}}, **parts))


def _feedback_kinds(decision: Decision) -> list[str]:
    return [feedback.what for feedback in decision.feedback]


def test_conversion_counts_up_to_the_end_of_the_window_and_not_after() -> None:
    for time_ms, is_reached in ((60_000, True), (_HOUR_MS, True), (_HOUR_MS + 1, False)):
        life = _life()
        assert _feedback_kinds(life.interact("Go", 0)) == ["tried"]
        [action] = life.actions()
        feedback = life.interact("Bought", time_ms).feedback
        assert [evidence.action_id for evidence in feedback] == (
            [action.action_id] if is_reached else []
        )
        life = _life()
        life.interact("Go", 0)
        [action] = life.actions()
        kinds = _feedback_kinds(life.react(action, "conversion", time_ms))
        assert ("reached" in kinds) is is_reached


def test_conversion_that_is_received_late_counts_by_its_own_time() -> None:
    life = _life()
    life.interact("Go", 0)
    assert _feedback_kinds(life.interact("Bought", 3 * _HOUR_MS, occurred_at=_HOUR_MS - 1)) == [
        "reached"
    ]
    assert _feedback_kinds(life.interact("Bought", 3 * _HOUR_MS, occurred_at=_HOUR_MS + 1)) == []


def test_bounced_message_is_no_trial() -> None:
    life = _life()
    life.interact("Go", 0)
    [action] = life.actions()
    assert _feedback_kinds(life.react(action, "bounce", 5)) == ["released"]


def test_mail_scanners_click_is_not_learned_from() -> None:
    click = {"all": [{"kind": "outcome"}, {"name": "click"}]}
    for time_ms, is_reached in ((9_999, False), (10_000, True)):
        life = _life(condition=click)
        life.interact("Go", 0)
        [action] = life.actions()
        kinds = _feedback_kinds(life.react(action, "click", time_ms))
        assert kinds == (["shown", "reached"] if is_reached else ["shown"])


def test_feedback_of_bots_is_not_learned_from() -> None:
    robot = Context(
        user_agent="Mozilla/5.0 (compatible; Googlebot/2.1; +http://google.com/bot.html)"
    )
    person = Context(user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Firefox/120.0")
    for context, is_learned in ((robot, False), (person, True)):
        life = _life(profile={"enrichers": {"user_agent": {}}})
        life.interact("Go", 0)
        kinds = _feedback_kinds(_interact_in_context(life, "Bought", 60_000, context))
        assert kinds == (["reached"] if is_learned else [])
        kinds = _feedback_kinds(_interact_in_context(life, "Go", 70_000, context))
        assert kinds == (["tried"] if is_learned else [])


def _interact_in_context(life: Life, name: str, time_ms: int, context: Context) -> Decision:
    run = life._run
    life._run = lambda interaction: run(replace(interaction, context=context))  # type: ignore[method-assign]
    try:
        return life.interact(name, time_ms)
    finally:
        life._run = run  # type: ignore[method-assign]


def test_message_that_must_be_confirmed_counts_once_it_was_shown() -> None:
    web = {"name": "web", "placements": ["hero"], "confirm_within": "10m"}
    shoes = offer("shoes", 100, hero("shoes", p=0.9))
    sale = campaign("sale", shoes, trigger={"name": "Never"}, goal={"when": {"name": "Bought"}})
    life = Life(
        world(
            channels={"channels": [web, *CHANNELS[1:]]},
            campaigns=[sale],
            policies={"learning": {"explore": 1e-9}},
        )
    )
    assert _feedback_kinds(life.interact("Home", 0, ask=["hero"])) == ["waits"]
    [action] = life.actions()
    assert _feedback_kinds(life.react(action, "impression", 5)) == ["shown"]
