"""Recommendations: the best prompt for each step of a journey, and changes by the worth that they
add.

Proposals are found on the customers who began earlier and measured on those who began later, with
intervals that hold for all proposals together, so that data without any effect rarely give a
recommendation. Randomised choices give a recommended change; a difference that was only observed
gives a recommended test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from pipeline.config.model.journeys import Journey
from pipeline.insights.case_choices import ARROW, WITH_STEP, WITHOUT_STEP
from pipeline.insights.change_drafts import draft
from pipeline.insights.choices import (
    ChoiceProposal,
    ChoiceRows,
    ChoiceSupport,
    Gain,
    Grade,
    Kind,
    Option,
    Verdict,
    compare_with_next_best,
    grade_of,
    is_possible_everywhere,
    measure,
    propose,
    supported_options,
)
from pipeline.insights.prompts import Prompts, ResultWeights
from pipeline.insights.ranking import rank_key
from pipeline.insights.recommendation_words import Language, count, number, words

ProposedAction: TypeAlias = Literal["change", "test"]

_MONTH_US: Final = 30 * 86_400_000_000
_SMALL_SAMPLE: Final = 100


@dataclass(frozen=True, slots=True)
class RecommendationQuestion:
    """Data and options of recommendations. `others`: choices other than prompts (steps, orders,
    arms); `adjust`: columns by which the choice may differ between customers; `journey`: the
    defined journey; `implied_journey`: without one, the journey that the events imply."""

    prompts: Prompts
    others: Sequence[ChoiceRows]
    weighing: ResultWeights
    adjust: tuple[str, ...] = ()
    journey: Journey | None = None
    implied_journey: Journey | None = None
    language: Language = "en"


@dataclass(frozen=True, slots=True)
class RecommendedChange:
    """Recommended change, or a test of one. `gain`: additional worth per time; `per_month`: `gain`
    multiplied by the number of times in 30 days."""

    rank: int
    do: ProposedAction
    kind: Kind | Literal["segment"]
    place: str
    what: str
    why: str
    against: tuple[str, ...]
    grade: Grade
    grade_words: str
    gain: Gain
    per_month: Gain
    support: ChoiceSupport
    draft: str


@dataclass(frozen=True, slots=True)
class StepAdvice:
    """Advice for a step: the prompt, if one is `recommended` (channel None: no message), else the
    reason for having none, in `words`."""

    step: str
    mandatory: bool
    recommended: bool
    channel: str | None
    message: str | None
    grade: Grade | None
    gain: Gain | None
    words: str


@dataclass(frozen=True, slots=True)
class JourneyShape:
    """Steps of the best journey in their order, by the results of tests or else as planned. `open`:
    optional steps without a test, which make the best number a range from `least` to `most`;
    `told`: kinds of choices that tests have decided."""

    steps: tuple[str, ...]
    open: tuple[str, ...]
    least: int
    most: int
    told: tuple[Kind, ...]
    words: str


@dataclass(frozen=True, slots=True)
class ComparedOption:
    """Option compared with the present practice on the later customers; `gain`: per time, with an
    interval of 95 % for this option alone."""

    kind: Kind
    place: str
    option: str
    grade: Grade
    gain: Gain
    support: ChoiceSupport


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Advice and changes. `shape`: steps, their number and order, of the defined or implied
    journey; `journey`: advice for each step; `compared`: every option with enough customers;
    `words`: a sentence if there is nothing to recommend."""

    customers: int
    unfinished_prompts: int
    shape: JourneyShape | None
    journey: tuple[StepAdvice, ...]
    compared: tuple[ComparedOption, ...]
    changes: tuple[RecommendedChange, ...]
    words: str | None


@dataclass(frozen=True, slots=True)
class _ExaminedPlace:
    """Place with all its `rows`, the rows that its grade uses (`counted_rows`), and the proposals
    found on its earlier customers."""

    rows: ChoiceRows
    counted_rows: ChoiceRows
    grade: Grade
    proposals: tuple[ChoiceProposal, ...]


def recommend(question: RecommendationQuestion) -> Recommendations:
    """Find and measure all proposals, and rank those that hold by their worth per month."""
    places = [_examine(rows, question.adjust) for rows in question.prompts.by_step]
    others = [_examine(rows, ()) for rows in question.others]
    proposals = [proposal for place in (*places, *others) for proposal in place.proposals]
    verdicts = measure(proposals)
    writer = _FindingWriter(question)
    changes = [writer.describe_change(verdict) for verdict in verdicts if verdict.holds]
    changes.sort(key=lambda change: (change.do != "change", -rank_key(change.per_month.value)))
    ranked_changes = tuple(replace(change, rank=rank) for rank, change in enumerate(changes, 1))
    return Recommendations(
        customers=question.prompts.customers,
        unfinished_prompts=question.prompts.unfinished_prompts,
        shape=writer.describe_shape(verdicts),
        journey=tuple(writer.advise_steps(places, verdicts)),
        compared=tuple(writer.compare_options((*places, *others))),
        changes=ranked_changes,
        words=None if ranked_changes else words(question.language, "none"),
    )


def _examine(rows: ChoiceRows, adjust: Sequence[str]) -> _ExaminedPlace:
    grade, counted_rows = grade_of(rows, bool(adjust))
    return _ExaminedPlace(rows, counted_rows, grade, tuple(propose(counted_rows, grade, adjust)))


class _FindingWriter:
    """Writer of changes, advice and comparisons in words."""

    def __init__(self, question: RecommendationQuestion) -> None:
        self._question = question

    @property
    def _journey(self) -> Journey | None:
        return self._question.journey or self._question.implied_journey

    def describe_change(self, verdict: Verdict) -> RecommendedChange:
        """Return the change of a verdict in words, with reasons and objections; its rank is 0."""
        proposal = verdict.proposal
        test = proposal.grade != "Tested"
        title = self._title(proposal)
        rate = _monthly_choices(proposal.rows)
        gain = verdict.gain
        return RecommendedChange(
            rank=0,
            do="test" if test else "change",
            kind="segment" if proposal.by else proposal.rows.kind,
            place=proposal.rows.place,
            what=self._words("test", what=title) if test else title,
            why=self._reason(verdict),
            against=tuple(self._objections(verdict)),
            grade=proposal.grade,
            grade_words=self._words(proposal.grade),
            gain=gain,
            per_month=Gain(gain.value * rate, gain.low * rate, gain.high * rate, gain.error * rate),
            support=verdict.support,
            draft=draft(proposal, self._journey, test),
        )

    def describe_shape(self, verdicts: Sequence[Verdict]) -> JourneyShape | None:
        """Return the steps of the best journey, with their number and order; None without a
        journey."""
        journey = self._journey
        if journey is None:
            return None
        findings = [
            verdict for verdict in verdicts if verdict.holds and verdict.proposal.grade == "Tested"
        ]
        best = {
            (finding.proposal.rows.kind, finding.proposal.rows.place): finding.proposal.option
            for finding in findings
            if finding.proposal.rows.kind not in ("prompt", "arm")
        }
        steps, open_steps = [], []
        for stage in journey.steps:
            steps_by_name = {step.step: step for step in stage.steps()}
            place = ARROW.join(steps_by_name)
            order = best.get(("order", place))
            for name in place.split(ARROW) if order is None else order.message.split(ARROW):
                choice = best.get(("step", name))
                if not steps_by_name or choice == WITHOUT_STEP:
                    continue
                steps.append(name)
                if choice is None and not steps_by_name[name].mandatory:
                    open_steps.append(name)
        mandatory = sum(step.mandatory for stage in journey.steps for step in stage.steps())
        min_steps, max_steps = len(steps) - len(open_steps), len(steps)
        if (number_option := best.get(("count", "steps"))) is not None:
            min_steps = max_steps = min(
                max(mandatory + int(number_option.message), min_steps), max_steps
            )
        return JourneyShape(
            steps=tuple(steps),
            open=tuple(open_steps),
            least=min_steps,
            most=max_steps,
            told=tuple(dict.fromkeys(kind for kind, _ in best)),
            words=self._shape_words(steps, open_steps, min_steps, max_steps),
        )

    def _shape_words(
        self, steps: Sequence[str], open_steps: Sequence[str], min_steps: int, max_steps: int
    ) -> str:
        range_words = (
            str(max_steps)
            if min_steps == max_steps
            else self._words("between", least=min_steps, most=max_steps)
        )
        sentences = [self._words("shape", number=range_words, steps=ARROW.join(steps))]
        sentences.append(self._words("shape plan" if self._question.journey else "shape usual"))
        if open_steps:
            sentences.append(self._words("shape open", steps=", ".join(open_steps)))
        return " ".join(sentences)

    def compare_options(self, places: Sequence[_ExaminedPlace]) -> Iterator[ComparedOption]:
        """Yield each option that enough customers had, compared with the present practice."""
        for place in places:
            rows = place.counted_rows
            for option in supported_options(rows):
                proposal = ChoiceProposal(rows, (option,) * len(rows.strata), (), place.grade)
                for verdict in measure([proposal]):
                    yield ComparedOption(
                        rows.kind,
                        rows.place,
                        self._label(rows.options[option]),
                        place.grade,
                        verdict.gain,
                        verdict.support,
                    )

    def advise_steps(
        self, places: Sequence[_ExaminedPlace], verdicts: Sequence[Verdict]
    ) -> list[StepAdvice]:
        """Return the advice for every step, in the journey's order."""
        places_by_step = {place.rows.place: place for place in places}
        mandatory = dict.fromkeys(places_by_step, False)
        journey = self._question.journey
        if journey is not None:
            mandatory = {
                step.step: step.mandatory for stage in journey.steps for step in stage.steps()
            }
        return [
            self._advise_step(step, mandatory[step], places_by_step.get(step), verdicts)
            for step in mandatory
        ]

    def _advise_step(
        self,
        name: str,
        mandatory: bool,
        place: _ExaminedPlace | None,
        verdicts: Sequence[Verdict],
    ) -> StepAdvice:
        if place is None:
            return StepAdvice(
                name, mandatory, False, None, None, None, None, self._words("no rows")
            )
        step_verdicts = [
            step_verdict
            for step_verdict in verdicts
            if step_verdict.proposal.rows.place == name
            and step_verdict.proposal.rows.kind == "prompt"
            and not step_verdict.proposal.by
        ]
        verdict = next((step_verdict for step_verdict in step_verdicts if step_verdict.holds), None)
        if verdict is None or verdict.proposal.grade != "Tested":
            reason = self._explain_none(place, step_verdicts, verdict is not None)
            return StepAdvice(name, mandatory, False, None, None, place.grade, None, reason)
        option = verdict.proposal.option
        return StepAdvice(
            name,
            mandatory,
            recommended=True,
            channel=option.channel or None,
            message=option.message or None,
            grade="Tested",
            gain=verdict.gain,
            words=self._title(verdict.proposal),
        )

    def _explain_none(self, place: _ExaminedPlace, verdicts: Sequence[Verdict], holds: bool) -> str:
        """Return the reason for having no recommendation for a place."""
        if holds:
            return self._words("a test")
        rows = place.rows
        if not len(rows.worth):
            return self._words("no rows")
        if len(rows.options) < 2:
            return self._words("one")
        if verdicts:
            return self._words("not held")
        return self._words("no better" if len(supported_options(rows)) > 1 else "too few")

    def _title(self, proposal: ChoiceProposal) -> str:
        rows, option = proposal.rows, proposal.option
        if proposal.by:
            rules = "; ".join(
                self._rule(values, rows.options[best])
                for values, best in zip(rows.strata, proposal.by_stratum, strict=True)
            )
            return self._words("by", place=rows.place, columns=", ".join(proposal.by), rules=rules)
        match rows.kind:
            case "prompt" if option.is_nothing:
                return self._words("say nothing", place=rows.place)
            case "prompt":
                return self._words(
                    "say", place=rows.place, message=option.message, channel=option.channel
                )
            case "step":
                return self._words(f"step {option.message}", place=rows.place)
            case kind:
                return self._words(kind, option=option.message)

    def _reason(self, verdict: Verdict) -> str:
        proposal, gain, support = verdict.proposal, verdict.gain, verdict.support
        comparison = self._words("as now")
        if proposal.against is not None:
            other_option = proposal.rows.options[proposal.against]
            comparison = self._words("than", option=self._label(other_option))
        reason = self._words(
            "why",
            gain=self._number(gain.value),
            low=self._number(gain.low),
            high=self._number(gain.high),
            than=comparison,
            found_on=self._count(support.found_on),
            reported_on=self._count(support.reported_on),
            had=self._count(support.had_it),
            split=_day(proposal.rows.split),
        )
        return f"{reason} {self._words('chance')}" if proposal.grade == "Tested" else reason

    def _objections(self, verdict: Verdict) -> list[str]:
        proposal, support = verdict.proposal, verdict.support
        objections = []
        if proposal.grade != "Tested":
            objections.append(self._words("not drawn"))
        if proposal.grade == "Adjusted":
            objections.append(self._words("adjusted for", columns=", ".join(self._question.adjust)))
        options = {proposal.rows.options[index] for index in proposal.by_stratum}
        for channel in sorted(option.channel for option in options):
            cost = self._question.weighing.costs.get(channel, 0.0)
            if cost:
                objections.append(self._words("costs", channel=channel, cost=self._number(cost)))
        if (next_best := compare_with_next_best(proposal)) is not None:
            objections += self._rival_objections(next_best)
        if not is_possible_everywhere(support):
            objections.append(self._words("limited", share=f"{support.possible:.0%}"))
        if support.had_it < _SMALL_SAMPLE:
            objections.append(self._words("few", had=support.had_it))
        return objections

    def _rival_objections(self, proposal: ChoiceProposal) -> list[str]:
        assert proposal.against is not None
        other_option = self._label(proposal.rows.options[proposal.against])
        return [
            self._words(
                "rival",
                option=other_option,
                low=self._number(verdict.gain.low),
                high=self._number(verdict.gain.high),
            )
            for verdict in measure([proposal])
            if not verdict.holds
        ]

    def _rule(self, values: Sequence[str], option: Option) -> str:
        return self._words("rule", values=", ".join(values), option=self._label(option))

    def _label(self, option: Option) -> str:
        if option in (WITH_STEP, WITHOUT_STEP):
            return self._words(f"option {option.message}")
        return self._words("nothing") if option.is_nothing else option.message

    def _number(self, value: float) -> str:
        return number(value, self._question.language)

    def _count(self, value: int) -> str:
        return count(value, self._question.language)

    def _words(self, key: str, /, **parts: object) -> str:
        return words(self._question.language, key, **parts)


def _monthly_choices(rows: ChoiceRows) -> float:
    """Return the number of choices in 30 days, by the rate of the later half."""
    return float(rows.later.sum()) * _MONTH_US / max(rows.end - rows.split, 1)


def _day(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000_000, UTC).date().isoformat()
