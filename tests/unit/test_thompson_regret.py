"""Choices that learn beat random ones and the best fixed one, on the simulated bank's truth."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace as with_fields
from random import Random
from typing import Final

from msgspec.structs import replace

from pipeline.decisioning.learning.counting import Arm, Tally, add, apply_feedback, difference
from pipeline.decisioning.step import step
from pipeline.flow import Flow
from pipeline.model.decision import Decision, Feedback
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Ok
from pipeline.model.stages import Segmented
from pipeline.rules import Rules
from pipeline.rules.knowledge import Knowledge, TreatmentEvidence
from pipeline.simulate.offers import STEPS
from tests.support.deciding import ADA, CHANNELS, campaign, offer, world

_ROUNDS: Final = 6_000
_EACH: Final = 100
"""Rounds between two snapshots."""
_CHANNELS: Final = ("email", "chat", "call")
_TRUE_CHANNEL: Final = {"email": "email", "chat": "web", "call": "call"}
_LONG: Final = 10**15


def _truth() -> dict[str, dict[str, float]]:
    """Return P(goal | contacted), by the step at which a customer stalls and the channel."""
    return {
        one.event: {
            name: one.reminder.conversion(_TRUE_CHANNEL[name], "standard") for name in _CHANNELS
        }
        for one in STEPS
    }


def _rules() -> Rules:
    treatments = [{"treatment": name, "channel": name} for name in _CHANNELS]
    bins = [
        {"bin": f"step{at}", "when": {"property": "step", "is": one.event}}
        for at, one in enumerate(STEPS)
    ]
    reminders = campaign(
        "onboarding", offer("help", 30, *treatments), goal={"when": {"name": "Account Opened"}}
    )
    channels = [CHANNELS[0], *({"name": name} for name in _CHANNELS)]
    learning = {"bins": bins, "prior": 0.3, "prior_trials": 4, "ramp": 0}
    return world(
        channels={"channels": channels},
        campaigns=[reminders],
        policies={"learning": learning},
    )


def _records(rules: Rules) -> Mapping[str, Segmented]:
    """Return a customer who stalls, by step."""
    going = Interaction("e", "track", "Go", "web", "shop", 1_000, 1_000, ADA)
    made: dict[str, Segmented] = {}
    for one in STEPS:
        stalled = replace(going, properties={"step": one.event})
        emits: Iterable[object] = (emit.value for emit in Flow(rules).run(stalled))
        made[one.event] = next(each for each in emits if isinstance(each, Segmented))
    return made


class _Learner:
    """Learner that counts, and gives the rules a new snapshot from time to time."""

    def __init__(self) -> None:
        self.rules = _rules()
        self.tallies: dict[Arm, Tally] = {}

    def learn(self, decision: Decision, reached: bool) -> None:
        told = [*decision.feedback]
        told += [Feedback(one.action_id, "reached", one.until) for one in told if reached]
        row = None
        for one in told:
            after = apply_feedback(row, one, decision)
            for change in difference(row, after):
                tally = self.tallies.get(change.arm, Tally())
                self.tallies[change.arm] = add(tally, change, _LONG)
            row = after

    def publish(self) -> None:
        known = {
            (arm[:3], arm[3]): TreatmentEvidence(one.trials, one.successes, one.tried)
            for arm, one in self.tallies.items()
        }
        assert self.rules.chooser is not None
        chooser = self.rules.chooser.with_knowledge(Knowledge("n", known))
        self.rules = with_fields(self.rules, chooser=chooser)


def _regrets(choose: Callable[[str, int], str]) -> list[float]:
    """Return the cumulative regret of choices, by round, against the best channel of each step."""
    truth, draws, total, regrets = _truth(), Random(7), 0.0, []
    for number in range(_ROUNDS):
        at = draws.choice(STEPS).event
        chosen = choose(at, number)
        total += max(truth[at].values()) - truth[at].get(chosen, STEPS[0].reminder.anyway["low"])
        regrets.append(total)
    return regrets


def test_learning_beats_random_and_the_best_fixed_choice_and_regret_is_sublinear() -> None:
    learner, truth, draws = _Learner(), _truth(), Random(1)
    records = _records(learner.rules)

    def choose_learned(at: str, number: int) -> str:
        record = records[at]
        assert record.interaction is not None
        mine = replace(record, interaction=replace(record.interaction, event_id=f"e{number}"))
        outcome = step("p", mine, None, learner.rules)
        assert isinstance(outcome, Ok)
        decision = next(one.value for one in outcome.emits if isinstance(one.value, Decision))
        chosen = next((one.treatment for one in decision.choices if one.treatment), "nothing")
        learner.learn(decision, draws.random() < truth[at].get(chosen, 0.0))
        if number % _EACH == 0:
            learner.publish()
        return chosen

    thompson = _regrets(choose_learned)
    random = _regrets(lambda _, number: Random(number).choice(_CHANNELS))
    fixed = min(_regrets(lambda _, __, one=name: one)[-1] for name in _CHANNELS)
    assert thompson[-1] < 0.5 * random[-1]
    assert thompson[-1] < 0.5 * fixed
    # Linear regret would double from half of the rounds to all of them.
    assert thompson[-1] < 1.6 * thompson[_ROUNDS // 2]
