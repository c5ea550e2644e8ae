"""Recommendations: the best prompt for each step of a journey, and the changes that would pay.

Proposals are found on the customers who began earlier and measured on those who began later, all
together, so that data without any effect hardly ever give a recommendation. Only randomised choices
give a recommended change; a difference that was only observed gives a recommended test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from pipeline.config.model.journeys import Journey
from pipeline.insights.case_choices import ARROW, LEFT_OUT, TAKEN
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
    grade_of,
    is_possible_everywhere,
    measure,
    propose,
    rival,
    supported_options,
)
from pipeline.insights.prompts import Prompts, ResultWeights
from pipeline.insights.ranking import rank_key
from pipeline.insights.recommendation_words import Language, count, number, words

Do: TypeAlias = Literal["change", "test"]

_MONTH_US: Final = 30 * 86_400_000_000
_FEW: Final = 100


@dataclass(frozen=True, slots=True)
class RecommendationQuestion:
    """Data and options of recommendations. `others`: choices other than prompts (steps, orders,
    arms); `adjust`: columns for a choice by customer; `journey`: the defined one; `implied`:
    without one, the journey that the events imply."""

    prompts: Prompts
    others: Sequence[ChoiceRows]
    weighing: ResultWeights
    adjust: tuple[str, ...] = ()
    journey: Journey | None = None
    implied: Journey | None = None
    language: Language = "en"


@dataclass(frozen=True, slots=True)
class RecommendedChange:
    """Recommended change, or a test of one. `gain`: additional worth per time; `per_month`: the
    same times the number of times in 30 days."""

    rank: int
    do: Do
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
    """Advice of the optimal journey for a step: its prompt where one is `recommended` (no channel:
    no message), else the reason for none."""

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
    """Steps of the best journey in their order, by tests; without one, as planned. `open`: steps
    not yet tested, so the best number is from `least` to `most`. `told`: results of tests."""

    steps: tuple[str, ...]
    open: tuple[str, ...]
    least: int
    most: int
    told: tuple[Kind, ...]
    words: str


@dataclass(frozen=True, slots=True)
class ComparedOption:
    """Option compared with the present practice, on the later customers: `gain` is per time, its
    interval holds at 95 % for this option alone."""

    kind: Kind
    place: str
    option: str
    grade: Grade
    gain: Gain
    support: ChoiceSupport


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Advice and changes. `shape`: steps, their number and order, of a journey that is defined or
    implied; `journey`: the prompt of each step; `compared`: every option with enough customers;
    `words`: the reason if there is nothing to recommend."""

    customers: int
    unfinished_prompts: int
    shape: JourneyShape | None
    journey: tuple[StepAdvice, ...]
    compared: tuple[ComparedOption, ...]
    changes: tuple[RecommendedChange, ...]
    words: str | None


@dataclass(frozen=True, slots=True)
class _ExaminedPlace:
    """Place with the rows that count, its grade, and its proposals from the earlier customers."""

    rows: ChoiceRows
    counted: ChoiceRows
    grade: Grade
    proposals: tuple[ChoiceProposal, ...]


def recommend(question: RecommendationQuestion) -> Recommendations:
    """Find and measure every proposal, and rank those that hold by their worth."""
    places = [_examine(rows, question.adjust) for rows in question.prompts.by_step]
    others = [_examine(rows, ()) for rows in question.others]
    proposals = [proposal for place in (*places, *others) for proposal in place.proposals]
    verdicts = measure(proposals)
    writer = _FindingWriter(question)
    held = [writer.change(verdict) for verdict in verdicts if verdict.holds]
    held.sort(key=lambda change: (change.do != "change", -rank_key(change.per_month.value)))
    ranked = tuple(writer.with_rank(change, place) for place, change in enumerate(held, 1))
    return Recommendations(
        customers=question.prompts.customers,
        unfinished_prompts=question.prompts.unfinished,
        shape=writer.shape(verdicts),
        journey=tuple(writer.steps(places, verdicts)),
        compared=tuple(writer.compare_options((*places, *others))),
        changes=ranked,
        words=None if ranked else words(question.language, "none"),
    )


def _examine(rows: ChoiceRows, adjust: Sequence[str]) -> _ExaminedPlace:
    grade, counted = grade_of(rows, bool(adjust))
    return _ExaminedPlace(rows, counted, grade, tuple(propose(counted, grade, adjust)))


class _FindingWriter:
    """Writer of findings in words."""

    def __init__(self, question: RecommendationQuestion) -> None:
        self._question = question

    @property
    def _journey(self) -> Journey | None:
        return self._question.journey or self._question.implied

    def with_rank(self, change: RecommendedChange, rank: int) -> RecommendedChange:
        """Return the change with its rank."""
        fields = {name: getattr(change, name) for name in RecommendedChange.__slots__}
        return RecommendedChange(**{**fields, "rank": rank})

    def change(self, verdict: Verdict) -> RecommendedChange:
        """Return the change in words, with its reasons and objections."""
        proposal = verdict.proposal
        test = proposal.grade != "Tested"
        title = self._what(proposal)
        rate = _per_month(proposal.rows)
        gain = verdict.gain
        return RecommendedChange(
            rank=0,
            do="test" if test else "change",
            kind="segment" if proposal.by else proposal.rows.kind,
            place=proposal.rows.place,
            what=self._words("test", what=title) if test else title,
            why=self._why(verdict),
            against=tuple(self._against(verdict)),
            grade=proposal.grade,
            grade_words=self._words(proposal.grade),
            gain=gain,
            per_month=Gain(gain.value * rate, gain.low * rate, gain.high * rate, gain.error * rate),
            support=verdict.support,
            draft=draft(proposal, self._journey, test),
        )

    def shape(self, verdicts: Sequence[Verdict]) -> JourneyShape | None:
        """Return the steps, their number and their order; None without a journey."""
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
        steps, undecided = [], []
        for stage in journey.steps:
            planned = {step.step: step for step in stage.steps()}
            place = ARROW.join(planned)
            order = best.get(("order", place))
            for name in place.split(ARROW) if order is None else order.message.split(ARROW):
                taken = best.get(("step", name))
                if not planned or taken == LEFT_OUT:
                    continue
                steps.append(name)
                if taken is None and not planned[name].mandatory:
                    undecided.append(name)
        mandatory = sum(step.mandatory for stage in journey.steps for step in stage.steps())
        least, most = len(steps) - len(undecided), len(steps)
        if (count := best.get(("count", "steps"))) is not None:
            least = most = min(max(mandatory + int(count.message), least), most)
        number = str(most) if least == most else self._words("between", least=least, most=most)
        sentences = [self._words("shape", number=number, steps=ARROW.join(steps))]
        sentences.append(self._words("shape plan" if self._question.journey else "shape usual"))
        if undecided:
            sentences.append(self._words("shape open", steps=", ".join(undecided)))
        kinds = tuple(dict.fromkeys(kind for kind, _ in best))
        return JourneyShape(tuple(steps), tuple(undecided), least, most, kinds, " ".join(sentences))

    def compare_options(self, places: Sequence[_ExaminedPlace]) -> Iterator[ComparedOption]:
        """Yield the worth of each option, good or bad."""
        for place in places:
            rows = place.counted
            for option in supported_options(rows):
                whole = ChoiceProposal(rows, (option,) * len(rows.strata), (), place.grade)
                for verdict in measure([whole]):
                    yield ComparedOption(
                        rows.kind,
                        rows.place,
                        self._label(rows.options[option]),
                        place.grade,
                        verdict.gain,
                        verdict.support,
                    )

    def steps(
        self, places: Sequence[_ExaminedPlace], verdicts: Sequence[Verdict]
    ) -> list[StepAdvice]:
        """Return the advice for every step, in the journey's order."""
        examined = {place.rows.place: place for place in places}
        mandatory = dict.fromkeys(examined, False)
        journey = self._question.journey
        if journey is not None:
            mandatory = {
                step.step: step.mandatory for stage in journey.steps for step in stage.steps()
            }
        return [
            self._step(step, mandatory[step], examined.get(step), verdicts) for step in mandatory
        ]

    def _step(
        self,
        name: str,
        mandatory: bool,
        examined: _ExaminedPlace | None,
        verdicts: Sequence[Verdict],
    ) -> StepAdvice:
        if examined is None:
            return StepAdvice(
                name, mandatory, False, None, None, None, None, self._words("no rows")
            )
        measured = [
            verdict
            for verdict in verdicts
            if verdict.proposal.rows.place == name
            and verdict.proposal.rows.kind == "prompt"
            and not verdict.proposal.by
        ]
        held = next((verdict for verdict in measured if verdict.holds), None)
        if held is None or held.proposal.grade != "Tested":
            reasons = self._reasons(examined, measured, held is not None)
            return StepAdvice(name, mandatory, False, None, None, examined.grade, None, reasons)
        option = held.proposal.option
        return StepAdvice(
            name,
            mandatory,
            recommended=True,
            channel=option.channel or None,
            message=option.message or None,
            grade="Tested",
            gain=held.gain,
            words=self._what(held.proposal),
        )

    def _reasons(self, examined: _ExaminedPlace, measured: Sequence[Verdict], held: bool) -> str:
        """Return the reasons for having no recommendation."""
        if held:
            return self._words("a test")
        rows = examined.rows
        if not len(rows.worth):
            return self._words("no rows")
        if len(rows.options) < 2:
            return self._words("one")
        if measured:
            return self._words("not held")
        return self._words("no better" if len(supported_options(rows)) > 1 else "too few")

    def _what(self, proposal: ChoiceProposal) -> str:
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

    def _why(self, verdict: Verdict) -> str:
        proposal, gain, support = verdict.proposal, verdict.gain, verdict.support
        than = self._words("as now")
        if proposal.against is not None:
            other = proposal.rows.options[proposal.against]
            than = self._words("than", option=self._label(other))
        reason = self._words(
            "why",
            gain=self._number(gain.value),
            low=self._number(gain.low),
            high=self._number(gain.high),
            than=than,
            found_on=self._count(support.found_on),
            reported_on=self._count(support.reported_on),
            had=self._count(support.had_it),
            split=_day(proposal.rows.split),
        )
        return f"{reason} {self._words('chance')}" if proposal.grade == "Tested" else reason

    def _against(self, verdict: Verdict) -> list[str]:
        proposal, support = verdict.proposal, verdict.support
        changes = []
        if proposal.grade != "Tested":
            changes.append(self._words("not drawn"))
        if proposal.grade == "Adjusted":
            changes.append(self._words("adjusted for", columns=", ".join(self._question.adjust)))
        chosen = {proposal.rows.options[index] for index in proposal.by_stratum}
        for channel in sorted(option.channel for option in chosen):
            cost = self._question.weighing.costs.get(channel, 0.0)
            if cost:
                changes.append(self._words("costs", channel=channel, cost=self._number(cost)))
        if (other := rival(proposal)) is not None:
            changes += self._rival(other)
        if not is_possible_everywhere(support):
            changes.append(self._words("limited", share=f"{support.possible:.0%}"))
        if support.had_it < _FEW:
            changes.append(self._words("few", had=support.had_it))
        return changes

    def _rival(self, proposal: ChoiceProposal) -> list[str]:
        assert proposal.against is not None
        other = self._label(proposal.rows.options[proposal.against])
        return [
            self._words(
                "rival",
                option=other,
                low=self._number(verdict.gain.low),
                high=self._number(verdict.gain.high),
            )
            for verdict in measure([proposal])
            if not verdict.holds
        ]

    def _rule(self, values: Sequence[str], option: Option) -> str:
        return self._words("rule", values=", ".join(values), option=self._label(option))

    def _label(self, option: Option) -> str:
        if option in (TAKEN, LEFT_OUT):
            return self._words(f"option {option.message}")
        return self._words("nothing") if option.is_nothing else option.message

    def _number(self, value: float) -> str:
        return number(value, self._question.language)

    def _count(self, value: int) -> str:
        return count(value, self._question.language)

    def _words(self, key: str, /, **parts: object) -> str:
        return words(self._question.language, key, **parts)


def _per_month(rows: ChoiceRows) -> float:
    """Return the number of times in 30 days, over the later half."""
    return float(rows.later.sum()) * _MONTH_US / max(rows.end - rows.split, 1)


def _day(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000_000, UTC).date().isoformat()
