"""Choices that learn beat random ones and the best fixed one, on the simulated bank's truth."""

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Final

from msgspec.structs import replace

from pipeline.decisioning.step import step
from pipeline.flow import Flow
from pipeline.model.decision import Decision, Feedback
from pipeline.model.interaction import Interaction
from pipeline.model.outcome import Ok
from pipeline.model.stages import Segmented
from pipeline.rules import Rules
from pipeline.simulate.offers import STEPS
from tests.support.deciding import ADA, CHANNELS, campaign, offer, world
from tests.support.learning import MemoryLearner, teach

_ROUND_COUNT: Final = 6_000
_ROUNDS_PER_SNAPSHOT: Final = 100
"""Rounds between two snapshots."""
_CHANNELS: Final = ("email", "chat", "call")
_TRUE_CHANNEL: Final = {"email": "email", "chat": "web", "call": "call"}


def _truth() -> dict[str, dict[str, float]]:
    """Return P(goal | contacted), by the step at which a customer stalls and the channel."""
    return {
        step.event: {
            name: step.reminder.conversion(_TRUE_CHANNEL[name], "standard") for name in _CHANNELS
        }
        for step in STEPS
    }


def _rules() -> Rules:
    treatments = [{"treatment": name, "channel": name} for name in _CHANNELS]
    bins = [
        {"bin": f"step{index}", "when": {"property": "step", "is": step.event}}
        for index, step in enumerate(STEPS)
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
    """Return the record of a customer who stalls, by the step."""
    interaction = Interaction("e", "track", "Go", "web", "shop", 1_000, 1_000, ADA)
    records_by_step: dict[str, Segmented] = {}
    for funnel_step in STEPS:
        stall = replace(interaction, properties={"step": funnel_step.event})
        emits: Iterable[object] = (emit.value for emit in Flow(rules).run(stall))
        records_by_step[funnel_step.event] = next(
            output for output in emits if isinstance(output, Segmented)
        )
    return records_by_step


def _accumulate_regrets(choose: Callable[[str, int], str]) -> list[float]:
    """Return the cumulative regret of choices, by round, against the best channel of each step."""
    truth, random, total_regret, regrets = _truth(), Random(7), 0.0, []
    for number in range(_ROUND_COUNT):
        step_event = random.choice(STEPS).event
        treatment = choose(step_event, number)
        total_regret += max(truth[step_event].values()) - truth[step_event].get(
            treatment, STEPS[0].reminder.base_rates["low"]
        )
        regrets.append(total_regret)
    return regrets


def test_learning_beats_random_and_the_best_fixed_choice_and_regret_is_sublinear() -> None:
    learner, truth, random, rules = MemoryLearner(), _truth(), Random(1), _rules()
    records = _records(rules)

    def choose_by_learning(step_event: str, number: int) -> str:
        nonlocal rules
        record = records[step_event]
        assert record.interaction is not None
        own_record = replace(record, interaction=replace(record.interaction, event_id=f"e{number}"))
        outcome = step("p", own_record, None, rules)
        assert isinstance(outcome, Ok)
        decision = next(emit.value for emit in outcome.emits if isinstance(emit.value, Decision))
        treatment = next(
            (choice.treatment for choice in decision.choices if choice.treatment), "nothing"
        )
        learner.fold(decision)
        if random.random() < truth[step_event].get(treatment, 0.0):
            goals = [
                Feedback(feedback.action_id, "reached", feedback.until)
                for feedback in decision.feedback
            ]
            learner.fold(replace(decision, feedback=tuple(goals)))
        if number % _ROUNDS_PER_SNAPSHOT == 0:
            rules = teach(rules, learner.publish())
        return treatment

    thompson_regrets = _accumulate_regrets(choose_by_learning)
    random_regrets = _accumulate_regrets(lambda _, number: Random(number).choice(_CHANNELS))
    fixed_regret = min(
        _accumulate_regrets(lambda _, __, channel=name: channel)[-1] for name in _CHANNELS
    )
    assert thompson_regrets[-1] < 0.5 * random_regrets[-1]
    assert thompson_regrets[-1] < 0.5 * fixed_regret
    # Linear regret would double from half of the rounds to all of them.
    assert thompson_regrets[-1] < 1.6 * thompson_regrets[_ROUND_COUNT // 2]
