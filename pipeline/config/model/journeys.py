"""journeys/*.yaml as typed records: one class for each part, fields as they are written there."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from pipeline.config.model.part import Condition, Duration, Name, Part, Share


class Prompt(Part, frozen=True):
    """Offers that may be made while a step is waited for: the first after the time `after`, further
    ones at the interval `every`, at most `most` of them."""

    offers: Annotated[tuple[Name, ...], Meta(min_length=1)]
    after: Duration | None = None
    every: Duration | None = None
    most: Annotated[int, Meta(ge=1)] = 1


class JourneyStep(Part, frozen=True):
    """Step that is taken once: by the first interaction that fits `reached`.

    A step that is not `mandatory` may be skipped. A step is in time up to `within` after the steps
    before it (the first one: after entering).
    """

    step: Name
    reached: Condition
    mandatory: bool = False
    within: Duration | None = None
    prompts: tuple[Prompt, ...] = ()


class JourneySplit(Part, frozen=True):
    """Experiment: each customer gets one of the `arms`, by their shares, which add up to 1."""

    arms: dict[Name, Annotated[float, Meta(gt=0, le=1)]]
    by: Literal["share"] = "share"
    hypothesis: str = ""


class JourneyStage(Part, frozen=True):
    """Stage of a journey: a step (fields of JourneyStep), steps in `any_order`, or a `split`."""

    step: Name | None = None
    reached: Condition | None = None
    mandatory: bool | None = None
    within: Duration | None = None
    prompts: tuple[Prompt, ...] = ()
    any_order: tuple[JourneyStep, ...] | None = None
    split: JourneySplit | None = None

    def steps(self) -> tuple[JourneyStep, ...]:
        """Return the steps of this stage, which may come in any order; none for a split."""
        if self.any_order is not None:
            return self.any_order
        if self.step is None or self.reached is None:
            return ()
        mandatory = bool(self.mandatory)
        return (JourneyStep(self.step, self.reached, mandatory, self.within, self.prompts),)


class JourneyGoal(Part, frozen=True):
    """Purpose of the journey: an interaction that fits `when` within `window` of entering.

    Without a window it may come at any time.
    """

    when: Condition
    window: Duration | None = None


class EnterAfter(Part, frozen=True):
    """Time after which a customer may enter again."""

    after: Duration


Reentry: TypeAlias = Literal["never", "always"] | EnterAfter


class Enter(Part, frozen=True):
    """Beginning of the journey, by an interaction that fits `when`; `again`: whether it may begin
    more than once."""

    when: Condition
    again: Reentry = "never"


class Journey(Part, frozen=True):
    """journeys/*.yaml: `steps` in their order, towards a `goal`.

    It ends with the goal, with the end of the goal's window, or with an interaction that fits one
    of `exit`; without a goal, when every mandatory step is reached. `holdout`: this share of its
    customers gets no prompts, for comparison.
    """

    journey: Name
    steps: Annotated[tuple[JourneyStage, ...], Meta(min_length=1)]
    goal: JourneyGoal | None = None
    enter: Enter | None = None
    exit: tuple[Condition, ...] = ()
    holdout: Share = 0.0
    description: str = ""
