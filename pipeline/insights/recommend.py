"""Recommendations: the best prompt for each step of a journey, and the changes that would pay.

Proposals are found on the customers who began earlier and measured on those who began later, all
together, so that of worlds in which nothing matters hardly one gets a recommendation. Only what
chance chose is recommended as a change; a difference that nobody drew is recommended as a test.
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
from pipeline.insights.prompts import Prompts, Weighing
from pipeline.insights.ranking import rank_key
from pipeline.insights.recommendation_words import Language, count, number, words

Do: TypeAlias = Literal["change", "test"]

_MONTH_US: Final = 30 * 86_400_000_000
_FEW: Final = 100


@dataclass(frozen=True, slots=True)
class RecommendationQuestion:
    """Question of recommendations: data and wishes. `others`: choices beside prompts (steps,
    orders, arms); `adjust`: the columns that tell customers apart; `journey`: the defined one;
    `implied`: where none is, the one that the events imply."""

    prompts: Prompts
    others: Sequence[ChoiceRows]
    weighing: Weighing
    adjust: tuple[str, ...] = ()
    journey: Journey | None = None
    implied: Journey | None = None
    language: Language = "en"


@dataclass(frozen=True, slots=True)
class RecommendedChange:
    """Recommended change, or a test of one. `gain`: worth of a time more than now; `per_month`:
    that, for as often as it came up in 30 days."""

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
    nothing is said), else why none is."""

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
    """Steps of the best journey in their order, as far as a test has told; where none has, they are
    as planned. `open`: those of them of which nobody knows whether they should be there, so the
    best number is from `least` to `most`. `told`: what a test decided."""

    steps: tuple[str, ...]
    open: tuple[str, ...]
    least: int
    most: int
    told: tuple[Kind, ...]
    words: str


@dataclass(frozen=True, slots=True)
class ComparedOption:
    """Option beside what is done now, by the later customers: `gain` is of a time, its interval
    holds at 95 % for itself alone."""

    kind: Kind
    place: str
    option: str
    grade: Grade
    gain: Gain
    support: ChoiceSupport


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Advice and changes. `shape`: steps, their number and order, of a journey that is defined or
    implied;
    `journey`: the prompt of each step; `compared`: every option that enough customers had; `words`:
    where there is nothing to recommend."""

    customers: int
    unfinished_prompts: int
    shape: JourneyShape | None
    journey: tuple[StepAdvice, ...]
    compared: tuple[ComparedOption, ...]
    changes: tuple[RecommendedChange, ...]
    words: str | None


@dataclass(frozen=True, slots=True)
class _Looked:
    """Place with the rows that count, its grade, and what the earlier customers promised."""

    rows: ChoiceRows
    counted: ChoiceRows
    grade: Grade
    proposals: tuple[ChoiceProposal, ...]


def recommend(question: RecommendationQuestion) -> Recommendations:
    """Find and measure every proposal, and rank those that hold by what they are worth."""
    places = [_look(one, question.adjust) for one in question.prompts.by_step]
    others = [_look(one, ()) for one in question.others]
    proposals = [each for one in (*places, *others) for each in one.proposals]
    verdicts = measure(proposals)
    teller = _Teller(question)
    held = [teller.change(one) for one in verdicts if one.holds]
    held.sort(key=lambda one: (one.do != "change", -rank_key(one.per_month.value)))
    ranked = tuple(teller.with_rank(one, place) for place, one in enumerate(held, 1))
    return Recommendations(
        customers=question.prompts.customers,
        unfinished_prompts=question.prompts.unfinished,
        shape=teller.shape(verdicts),
        journey=tuple(teller.steps(places, verdicts)),
        compared=tuple(teller.compare_options((*places, *others))),
        changes=ranked,
        words=None if ranked else words(question.language, "none"),
    )


def _look(rows: ChoiceRows, adjust: Sequence[str]) -> _Looked:
    grade, counted = grade_of(rows, bool(adjust))
    return _Looked(rows, counted, grade, tuple(propose(counted, grade, adjust)))


class _Teller:
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
        what = self._what(proposal)
        rate = _per_month(proposal.rows)
        gain = verdict.gain
        return RecommendedChange(
            rank=0,
            do="test" if test else "change",
            kind="segment" if proposal.by else proposal.rows.kind,
            place=proposal.rows.place,
            what=self._words("test", what=what) if test else what,
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
        """Return which steps, how many, in which order; None where no journey is known."""
        journey = self._journey
        if journey is None:
            return None
        told = [one for one in verdicts if one.holds and one.proposal.grade == "Tested"]
        best = {
            (one.proposal.rows.kind, one.proposal.rows.place): one.proposal.option
            for one in told
            if one.proposal.rows.kind not in ("prompt", "arm")
        }
        steps, undecided = [], []
        for stage in journey.steps:
            planned = {one.step: one for one in stage.steps()}
            place = ARROW.join(planned)
            order = best.get(("order", place))
            for name in place.split(ARROW) if order is None else order.message.split(ARROW):
                taken = best.get(("step", name))
                if not planned or taken == LEFT_OUT:
                    continue
                steps.append(name)
                if taken is None and not planned[name].mandatory:
                    undecided.append(name)
        mandatory = sum(one.mandatory for stage in journey.steps for one in stage.steps())
        least, most = len(steps) - len(undecided), len(steps)
        if (count := best.get(("count", "steps"))) is not None:
            least = most = min(max(mandatory + int(count.message), least), most)
        number = str(most) if least == most else self._words("between", least=least, most=most)
        said = [self._words("shape", number=number, steps=ARROW.join(steps))]
        said.append(self._words("shape plan" if self._question.journey else "shape usual"))
        if undecided:
            said.append(self._words("shape open", steps=", ".join(undecided)))
        kinds = tuple(dict.fromkeys(kind for kind, _ in best))
        return JourneyShape(tuple(steps), tuple(undecided), least, most, kinds, " ".join(said))

    def compare_options(self, places: Sequence[_Looked]) -> Iterator[ComparedOption]:
        """Yield the worth of each option, good or bad."""
        for place in places:
            rows = place.counted
            for option in supported_options(rows):
                whole = ChoiceProposal(rows, (option,) * len(rows.strata), (), place.grade)
                for one in measure([whole]):
                    yield ComparedOption(
                        rows.kind,
                        rows.place,
                        self._label(rows.options[option]),
                        place.grade,
                        one.gain,
                        one.support,
                    )

    def steps(self, places: Sequence[_Looked], verdicts: Sequence[Verdict]) -> list[StepAdvice]:
        """Return the advice for every step, in the journey's order."""
        looked = {one.rows.place: one for one in places}
        mandatory = dict.fromkeys(looked, False)
        journey = self._question.journey
        if journey is not None:
            mandatory = {
                step.step: step.mandatory for stage in journey.steps for step in stage.steps()
            }
        return [self._step(one, mandatory[one], looked.get(one), verdicts) for one in mandatory]

    def _step(
        self, name: str, mandatory: bool, looked: _Looked | None, verdicts: Sequence[Verdict]
    ) -> StepAdvice:
        if looked is None:
            return StepAdvice(
                name, mandatory, False, None, None, None, None, self._words("no rows")
            )
        mine = [
            one
            for one in verdicts
            if one.proposal.rows.place == name
            and one.proposal.rows.kind == "prompt"
            and not one.proposal.by
        ]
        held = next((one for one in mine if one.holds), None)
        if held is None or held.proposal.grade != "Tested":
            why = self._silence(looked, mine, held is not None)
            return StepAdvice(name, mandatory, False, None, None, looked.grade, None, why)
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

    def _silence(self, looked: _Looked, measured: Sequence[Verdict], held: bool) -> str:
        """Say why there is no recommendation."""
        if held:
            return self._words("a test")
        rows = looked.rows
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
        why = self._words(
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
        return f"{why} {self._words('chance')}" if proposal.grade == "Tested" else why

    def _against(self, verdict: Verdict) -> list[str]:
        proposal, support = verdict.proposal, verdict.support
        found = []
        if proposal.grade != "Tested":
            found.append(self._words("not drawn"))
        if proposal.grade == "Adjusted":
            found.append(self._words("adjusted for", columns=", ".join(self._question.adjust)))
        chosen = {proposal.rows.options[one] for one in proposal.by_stratum}
        for channel in sorted(one.channel for one in chosen):
            cost = self._question.weighing.costs.get(channel, 0.0)
            if cost:
                found.append(self._words("costs", channel=channel, cost=self._number(cost)))
        if (other := rival(proposal)) is not None:
            found += self._rival(other)
        if not is_possible_everywhere(support):
            found.append(self._words("limited", share=f"{support.possible:.0%}"))
        if support.had_it < _FEW:
            found.append(self._words("few", had=support.had_it))
        return found

    def _rival(self, proposal: ChoiceProposal) -> list[str]:
        assert proposal.against is not None
        other = self._label(proposal.rows.options[proposal.against])
        return [
            self._words(
                "rival",
                option=other,
                low=self._number(one.gain.low),
                high=self._number(one.gain.high),
            )
            for one in measure([proposal])
            if not one.holds
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
    """Return how often it came up in 30 days, in the time that is reported on."""
    return float(rows.later.sum()) * _MONTH_US / max(rows.end - rows.split, 1)


def _day(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000_000, UTC).date().isoformat()
