"""What was decided and why, what is to be delivered, and the answer to who waits."""

from typing import Literal

from msgspec import Struct, field

from pipeline.model.interaction import Identifier


class Contact(Struct, frozen=True):
    """One message to a customer, as caps count it. `at` (ms) is when it was decided."""

    action_id: str
    campaign: str
    offer: str
    treatment: str
    channel: str
    purpose: Literal["marketing", "service", "transactional"]
    at: int
    status: Literal["reserved", "committed", "released"] = "reserved"


class Candidate(Struct, frozen=True):
    """A treatment past eligibility. `score` = value - cost; `fate` says chosen, or what beat it."""

    slot: str
    campaign: str
    offer: str
    treatment: str
    channel: str
    value: float
    cost: float
    score: float
    fate: str


class Choice(Struct, frozen=True):
    """What fills a slot; `action_id` None: `nothing` was the best candidate."""

    slot: str
    channel: str
    action_id: str | None = None
    campaign: str | None = None
    offer: str | None = None
    treatment: str | None = None
    score: float = 0.0


class Decision(Struct, frozen=True):
    """The value of `decisions`: exactly one per interaction.

    `rejected` maps the rule that felled treatments to their names. `contacts` is the contact
    history that was read, so that the decision can be run again.
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
    """`action` None: show the placement's default."""

    placement: str
    action: Action | None = None


class Reply(Struct, frozen=True):
    """The value of `replies`; `decision_id` is None when it answers a probe."""

    request_id: str
    decision_id: str | None
    event_id: str | None
    answers: tuple[Answer, ...] = ()
