"""Decisions with their reasons, actions to be delivered, and replies to waiting requests."""

from typing import Final, Literal, TypeAlias

from msgspec import Struct, field

from pipeline.model.interaction import Identifier
from pipeline.model.item import NO_ITEM, ItemValues
from pipeline.model.stages import ProfileSection, SegmentSection

Purpose: TypeAlias = Literal["marketing", "service", "transactional"]

HELD_OUT_BY: Final = "held out by "
"""Prefix of the fate of a held-out candidate; the holdout's name follows."""


class Contact(Struct, frozen=True):
    """Message to a customer, as caps count it.

    `at` (ms): time of its decision; `outcomes`: the last times (ms) of each kind of outcome;
    `until` (ms): deadline of the report that it was shown; unless it is reported by then, it counts
    as not shown; `waits_until` (ms): it may wait up to then to be delivered, and can be cancelled;
    None: it is an answer, or was cancelled. `first`: it is the first message of its campaign within
    the goal's window; if incremental effects are learned, first messages are the trials.
    """

    action_id: str
    campaign: str
    offer: str
    treatment: str
    channel: str
    purpose: Purpose
    at: int
    status: Literal["reserved", "committed", "released"] = "reserved"
    issue: str | None = None
    group: str | None = None
    outcomes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    until: int | None = None
    waits_until: int | None = None
    first: bool = False

    @property
    def transactional(self) -> bool:
        """Whether it is exempt from all caps."""
        return self.purpose == "transactional"

    def counts(self, now_ms: int) -> bool:
        """Return whether the message uses up a cap."""
        if self.status == "reserved":
            return self.until is None or now_ms < self.until
        return self.status == "committed"


class Candidate(Struct, frozen=True):
    """Treatment that passed eligibility, applicability and suitability.

    `score` = (p × value − cost) × weight, where `weight` combines the context and levers. `fate`:
    chosen, or the reason for not being chosen. With learning, `p` is drawn from the posterior with
    the evidence `trials`, `successes` and `tried` (see `Posterior`), minus `anyway`, the goal's
    base rate, if incremental effects are learned. `numbers`, `texts` and `begins` (ms; start of its
    validity) are attributes of a catalogue's item at the time of the decision.
    """

    slot: str
    campaign: str
    offer: str
    treatment: str
    channel: str
    value: float
    cost: float
    score: float
    fate: str
    p: float = 1.0
    weight: float = 1.0
    trials: float = 0.0
    successes: float = 0.0
    tried: int = 0
    numbers: dict[str, float] | None = None
    texts: dict[str, str] | None = None
    begins: int | None = None
    anyway: float = 0.0

    @property
    def item(self) -> ItemValues:
        """Attributes of the item, as models read them."""
        if self.numbers is None and self.texts is None and self.begins is None:
            return NO_ITEM
        return ItemValues.of({**(self.numbers or {}), **(self.texts or {})}, self.begins)


class Assignment(Struct, frozen=True):
    """Assignment of a customer to a holdout, or not, drawn at `at` (ms).

    `conflict`: it was drawn both ways before profiles merged; the first draw holds, and the
    customer is excluded from the lift.
    """

    holdout: str
    held: bool
    at: int
    conflict: bool = False


class Choice(Struct, frozen=True):
    """Choice for a slot; `action_id` None: `nothing` was the best candidate.

    If a placement wants several messages, its further places are slots too: `grid#2`, `grid#3`…
    `would_be`: the treatment that would have won, but the customer is in its `holdout`; the slot
    has the best treatment without a holdout, or nothing. `propensity`: probability of the slot's
    choice, given all inputs, holdouts included, and the choices for other placements, and for
    earlier places of this one; 1 if nothing is learned. `explored`: it was drawn uniformly from all
    candidates that might pay.
    """

    slot: str
    channel: str
    action_id: str | None = None
    campaign: str | None = None
    offer: str | None = None
    treatment: str | None = None
    score: float = 0.0
    holdout: str | None = None
    would_be: str | None = None
    propensity: float = 1.0
    explored: bool = False


class SlotChances(Struct, frozen=True):
    """Probability of each treatment, and of nothing (""), in the drawn slots of a decision; of a
    placement, its first place. Recorded if `Rules.with_chances` is set."""

    decision_id: str
    slots: dict[str, dict[str, float]]


class Feedback(Struct, frozen=True):
    """Evidence about an action, for the learner.

    `tried`: it was sent and counts; `waits`: it counts once it was `shown`; `released`: it does not
    count, because it never reached anybody; `reached`: its campaign's goal, within the goal's
    window. `until` (ms): end of that window.
    """

    action_id: str
    what: Literal["tried", "waits", "shown", "released", "reached"]
    until: int


class DeferredMessage(Struct, frozen=True):
    """Treatment that quiet hours defer; it is decided again at `until` (ms), their end.

    It must be delivered before `deadline_at` (ms).
    """

    campaign: str
    offer: str
    treatment: str
    channel: str
    purpose: Purpose
    until: int
    deadline_at: int
    issue: str | None = None
    group: str | None = None


class DeferralInput(Struct, frozen=True):
    """Additional input of a second decision, on deferred messages.

    `first`: the decision on the interaction, made at `since` (ms), from which deadlines count;
    `messages`: the deferred messages; `profile` and `segments`: the customer as of the last record.
    """

    first: str
    since: int
    messages: tuple[DeferredMessage, ...]
    profile: ProfileSection | None
    segments: SegmentSection


class Cancellation(Struct, frozen=True):
    """Value of `cancellations`: waiting message that must not be sent any more.

    `action_id` None: it was deferred, and no action yet. `why`: the suppression, consent, rule or
    cap that now forbids it.
    """

    profile_id: str
    action_id: str | None
    campaign: str
    offer: str
    treatment: str
    channel: str
    at: int
    why: str


class BudgetRead(Struct, frozen=True):
    """Budget or stock as a decision read it: `left` to spend in `period`, and the shadow `price` of
    a unit of cost."""

    budget: str
    period: str
    left: float
    price: float


class Spend(Struct, frozen=True):
    """Part of a budget, or of a stock, for an action.

    `reserved`: `amount` of `budget` in `period`, released at `until` (ms) unless the message is
    reported as shown. `committed` and `released` are of all that the action reserved.
    """

    action_id: str
    what: Literal["reserved", "committed", "released"]
    budget: str = ""
    period: str = ""
    amount: float = 0.0
    until: int | None = None


class Decision(Struct, frozen=True):
    """Value of `decisions`: exactly one per interaction, and one more for each time that deferred
    messages are decided again (`again`).

    `rejected`: rule that excluded treatments, as `stage/rule`, -> their names. The recorded inputs
    make the decision repeatable: `contacts` (the contact history), `silenced` (suppression -> time
    (ms) of the interaction that caused it) and `holdouts` (the customer's assignments). With
    learning: `snapshot` names the knowledge used, `bin` the context bin, and `feedback` is the
    evidence for the learner. `model`: the models that predicted its candidates, as NAME@VERSION,
    separated by spaces; None: no model did. `arm`: the customer's arm of the impact tests; None:
    there is no test. `deferred`: messages to be decided again, with their times. `budgets`: the
    budgets of its candidates, as they were read; `spends`: the amounts reserved, committed or
    released because of it.
    """

    decision_id: str
    event_id: str
    profile_id: str
    config: str
    decided_at: int
    choices: tuple[Choice, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    rejected: dict[str, tuple[str, ...]] = field(default_factory=dict)
    contacts: tuple[Contact, ...] = ()
    silenced: dict[str, int] = field(default_factory=dict)
    holdouts: tuple[Assignment, ...] = ()
    snapshot: str | None = None
    bin: str = ""
    feedback: tuple[Feedback, ...] = ()
    model: str | None = None
    arm: str | None = None
    deferred: tuple[DeferredMessage, ...] = ()
    again: DeferralInput | None = None
    budgets: tuple[BudgetRead, ...] = ()
    spends: tuple[Spend, ...] = ()


class Action(Struct, frozen=True):
    """Value of `actions.<channel>`: one treatment to deliver before `deadline_at` (ms).

    `action_id` is the idempotency key. `token` signs it for `/v1/outcomes`.
    """

    action_id: str
    decision_id: str
    event_id: str
    profile_id: str
    identifier: Identifier
    purpose: Purpose
    campaign: str
    offer: str
    treatment: str
    channel: str
    placement: str | None
    address: str | None
    content: dict[str, str]
    created_at: int
    deadline_at: int
    token: str


class Answer(Struct, frozen=True):
    """Answer for one placement; `action` None: show the placement's default."""

    placement: str
    action: Action | None = None
    more: tuple[Action, ...] = ()

    @property
    def actions(self) -> tuple[Action, ...]:
        """All actions, the best first."""
        return () if self.action is None else (self.action, *self.more)


class Reply(Struct, frozen=True):
    """Value of `replies`; `decision_id` is None in the answer to a probe."""

    request_id: str
    decision_id: str | None
    event_id: str | None
    answers: tuple[Answer, ...] = ()
