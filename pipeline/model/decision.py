"""What was decided and why, what is to be delivered, and the answer to who waits."""

from typing import Literal

from msgspec import Struct, field

from pipeline.model.interaction import Identifier


class Contact(Struct, frozen=True):
    """One message to a customer, as caps count it. `at` (ms) is when it was decided, `outcomes`
    when the customer did what with it: the last times (ms) of each kind. `until` (ms): if nobody
    has told by then that it was shown, it was not."""

    action_id: str
    campaign: str
    offer: str
    treatment: str
    channel: str
    purpose: Literal["marketing", "service", "transactional"]
    at: int
    status: Literal["reserved", "committed", "released"] = "reserved"
    issue: str | None = None
    group: str | None = None
    outcomes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    until: int | None = None

    def counts(self, now_ms: int) -> bool:
        """Whether it has a place under caps."""
        if self.status == "reserved":
            return self.until is None or now_ms < self.until
        return self.status == "committed"


class Candidate(Struct, frozen=True):
    """A treatment past eligibility, applicability and suitability.

    `score` = (p × value − cost) × weight, where `weight` is that of the context and of levers.
    `fate` says chosen, or what beat it or held it back.
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


class Assignment(Struct, frozen=True):
    """Whether a customer is held out, drawn at `at` (ms). `conflict`: it was drawn both ways before
    profiles merged; the first draw holds, and the customer says nothing about lift."""

    holdout: str
    held: bool
    at: int
    conflict: bool = False


class Choice(Struct, frozen=True):
    """What fills a slot; `action_id` None: `nothing` was the best candidate.

    The further places of a placement that wants several are slots too: `grid#2`, `grid#3`...

    Where the customer is in `holdout`, nothing is said and `would_be` is the treatment that would
    have been. `propensity`: how likely this choice was, given everything.
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


class Decision(Struct, frozen=True):
    """The value of `decisions`: exactly one per interaction.

    `rejected` maps the rule that felled treatments, as `stage/rule`, to their names. `contacts` is
    the contact history that was read, `silenced` when (ms) interactions silenced what, and
    `holdouts` how the customer was drawn: so the decision can be run again.
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


class Action(Struct, frozen=True):
    """The value of `actions.<channel>`: one treatment to deliver before `deadline_at` (ms).

    `action_id` is the idempotency key. `token` signs it for `/v1/outcomes`.
    """

    action_id: str
    decision_id: str
    event_id: str
    profile_id: str
    identifier: Identifier
    purpose: Literal["marketing", "service", "transactional"]
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
    """`action` None: show the placement's default. `more`: the next best, where more than one was
    asked for."""

    placement: str
    action: Action | None = None
    more: tuple[Action, ...] = ()

    @property
    def actions(self) -> tuple[Action, ...]:
        """All of them, the best first."""
        return () if self.action is None else (self.action, *self.more)


class Reply(Struct, frozen=True):
    """The value of `replies`; `decision_id` is None when it answers a probe."""

    request_id: str
    decision_id: str | None
    event_id: str | None
    answers: tuple[Answer, ...] = ()
