"""Recommended changes for the report, as `kairos insights recommend --json` prints them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from pipeline.insights.tables import TableError


@dataclass(frozen=True, slots=True)
class RecommendationCard:
    """Change in plain words, with its grade, the reasons for and against it, and its draft."""

    title: str
    grade: str
    pros: tuple[str, ...]
    cons: tuple[str, ...]
    draft: str


@dataclass(frozen=True, slots=True)
class RecommendedStep:
    """Step of the recommended journey, with its prompt in words."""

    step: str
    words: str


@dataclass(frozen=True, slots=True)
class OptionWorth:
    """Option that enough customers had, with its gain in worth over the present practice (95 %)."""

    place: str
    option: str
    customers: int
    gain: float
    low: float
    high: float
    grade: str


@dataclass(frozen=True, slots=True)
class Advice:
    """Recommended changes (`cards`), the best first; the recommended `journey` with its `shape` in
    words; and every option compared with the present practice."""

    cards: tuple[RecommendationCard, ...]
    journey: tuple[RecommendedStep, ...]
    shape: str | None = None
    compared_options: tuple[OptionWorth, ...] = ()


NO_ADVICE: Final = Advice((), ())


class _AdvisedChange(Struct, frozen=True):
    what: str
    why: str
    grade_words: str
    against: tuple[str, ...] = ()
    draft: str = ""


class _AdvisedStep(Struct, frozen=True):
    step: str
    words: str


class _AdvisedShape(Struct, frozen=True):
    words: str


class _AdvisedGain(Struct, frozen=True):
    value: float
    low: float
    high: float


class _AdvisedSupport(Struct, frozen=True):
    had_it: int


class _AdvisedOption(Struct, frozen=True):
    place: str
    option: str
    grade: str
    gain: _AdvisedGain
    support: _AdvisedSupport


class _AdviceFile(Struct, frozen=True):
    changes: tuple[_AdvisedChange, ...]
    journey: tuple[_AdvisedStep, ...] = ()
    shape: _AdvisedShape | None = None
    compared: tuple[_AdvisedOption, ...] = ()


def read_advice(file: Path) -> Advice:
    """Return the recommendations of the file. Raises TableError for a file of another form."""
    try:
        advice = msgspec.json.decode(file.read_bytes(), type=_AdviceFile)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TableError(
            f"{file}: is not what `kairos insights recommend --json` prints: {error}"
        ) from error
    return Advice(
        tuple(
            RecommendationCard(
                change.what, change.grade_words, (change.why,), change.against, change.draft
            )
            for change in advice.changes
        ),
        tuple(RecommendedStep(step.step, step.words) for step in advice.journey),
        None if advice.shape is None else advice.shape.words,
        tuple(
            OptionWorth(
                place=option.place,
                option=option.option,
                customers=option.support.had_it,
                gain=option.gain.value,
                low=option.gain.low,
                high=option.gain.high,
                grade=option.grade,
            )
            for option in advice.compared
        ),
    )
