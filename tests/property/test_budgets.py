"""Budgets and stock are never overspent, and can be spent entirely, over kills of any process."""

import tempfile
from collections import Counter, deque
from collections.abc import Iterable
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import topics
from pipeline.model.budget import TOKENS, tokens
from pipeline.model.decision import Decision
from pipeline.model.fingerprint import Fingerprint
from pipeline.model.outcome import Emit
from pipeline.replay.live_decisions import LiveComparison, ReplayedDecisions
from pipeline.replay.playing import LogPlayer
from pipeline.rules import Rules
from tests.support.cases import cases
from tests.support.deciding import campaign, hero, offer, world
from tests.support.spending import PARTITIONS, SpendingWorld

_GIFT_BUDGET: Final = 12.5
_SHELF: Final = {"a": 3, "b": 1}
_BUDGETS: Final = {
    "gift": _GIFT_BUDGET,
    "show": 4.0,
    **{f"shelf/{n}": s for n, s in _SHELF.items()},
}
_OUTCOMES: Final = ("impression", "click", "bounce", "expired", "delivered")


@cache
def _rules(confirm_within: str = "1m") -> Rules:
    """Return rules with an expensive e-mail, a page that must report impressions, and two items."""
    tile = {"treatments": [{"treatment": "tile", "channel": "web", "placement": "hero"}]}
    return world(
        channels={
            "channels": [
                {"name": "web", "placements": ["hero"], "confirm_within": confirm_within},
                {"name": "email", "cost": 1},
            ]
        },
        campaigns=[
            campaign("gift", offer("gift", 9), budget=_GIFT_BUDGET),
            campaign("show", offer("show", 5, hero("show-hero", cost=0.5)), budget=4),
            campaign("shop", {"offer": "item", "value": 3, "catalog": "shelf", **tile}),
        ],
        catalogs=[
            {
                "catalog": "shelf",
                "table": "none.csv",
                "items": [{"id": name, "stock": stock} for name, stock in _SHELF.items()],
            }
        ],
    )


def _check_budgets(world: SpendingWorld) -> None:
    """Check that decisions, workers' purses and published accounts overspend nothing."""
    for name, amount in _BUDGETS.items():
        account, limit = world.ledger.accounts.get(name), round(amount * TOKENS)
        assert world.spent_tokens(name) <= limit, name
        if account is None:
            continue
        purses = [purse[name] for purse in world.purses() if name in purse]
        grants = sum(max(purse.granted, purse.spent) for purse in purses)
        assert grants - account.released <= limit, name
        assert account.net_spending <= limit, name
        assert account.free >= 0, name


def _run_randomly(world: SpendingWorld, random: Random, step_count: int, kill_percent: int) -> None:
    for _ in range(step_count):
        choice, customer_id = random.randrange(100), f"c{random.randrange(9)}"
        if choice < 25:
            world.put("Go", customer_id)
        elif choice < 45:
            world.put("Look", customer_id, asks=True)
        elif choice < 55:
            world.report_outcome(random.choice(_OUTCOMES))
        elif choice < 80:
            world.work(random.randrange(12))
        elif choice < 95:
            world.learn(random.randrange(6))
            world.now_ms += random.randrange(3_000)
        else:
            world.now_ms += random.randrange(90_000)
        if random.randrange(100) < kill_percent:
            world.doom_worker()
        if random.randrange(100) < kill_percent:
            loses_disk, doomed_at = (
                random.randrange(4) == 0,
                random.choice((None, random.randrange(6))),
            )
            world.restart_learner(loses_disk=loses_disk, doomed_at=doomed_at)
        _check_budgets(world)


@settings(max_examples=cases(120), deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((0, 5, 15)))
def test_budgets_hold_over_kills(seed: int, kill_percent: int) -> None:
    _check_run(seed, kill_percent)


def _check_run(seed: int, kill_percent: int) -> None:
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = SpendingWorld(_rules(), Path(folder), random)
        _run_randomly(world, random, 90, kill_percent)
        world.process_all()
        world.now_ms += 120_000  # beyond `confirm_within` of pages
        world.process_all()
        _check_budgets(world)
        for name in _BUDGETS:
            account = world.ledger.accounts[name]
            assert account.net_spending + account.late >= world.spent_tokens(name), name
            purses = [purse[name] for purse in world.purses() if name in purse]
            assert account.gross_spending == sum(purse.spent for purse in purses), name
            assert account.expiring == 0, name
            assert world.records[name].spent * TOKENS == pytest.approx(account.net_spending), name
        _spend_the_rest(world)
        world.ledger.close()


def _spend_the_rest(world: SpendingWorld) -> None:
    """Spend the rest of the gift's budget, including the leases of other partitions, with customers
    of one partition."""
    customer_ids = [f"x{n}" for n in range(150) if world.logs.partition_of(f"x{n}".encode()) == 0]
    for customer_id in customer_ids:
        if world.ledger.accounts["gift"].left < TOKENS:
            break
        world.put("Go", customer_id)
        world.process_all()
        _check_budgets(world)
    account = world.ledger.accounts["gift"]
    assert account.left < TOKENS, (account.left, account)


def test_leases_are_used_up_while_the_learner_is_away(tmp_path: Path) -> None:
    world = SpendingWorld(_rules(), tmp_path, Random(1))
    world.process_all()
    leased_tokens = sum(purse["gift"].left(world.now_ms) for purse in world.purses())
    for number in range(150):
        world.put("Go", f"c{number}")
    while world.worker.unread_places() or world.worker.in_flight_counts():
        world.work(50)
    decisions = [decision for _, decision in world.logs.read(topics.DECISIONS)]
    fates = [candidate.fate for decision in decisions for candidate in decision.candidates]
    assert world.spent_tokens("gift") == leased_tokens - leased_tokens % TOKENS
    assert set(fates) == {"chosen", "budget gift"}
    assert sum(decision.spends != () for decision in decisions) == leased_tokens // TOKENS


def test_copy_of_an_input_spends_once(tmp_path: Path) -> None:
    world = SpendingWorld(_rules(), tmp_path, Random(2))
    world.process_all()
    world.put("Go", "c1")
    for partition in range(PARTITIONS):
        log = world.logs.records[topics.SEGMENTED, partition]
        log.extend(log[-1:])
    world.process_all()
    assert world.spent_tokens("gift") == TOKENS
    account: Any = world.ledger.accounts["gift"]
    assert account.gross_spending == world.spent_tokens("gift")


@cache
def _daily_rules(amount: float = 4.0) -> Rules:
    budget = {"amount": amount, "per": "day", "zone": "Europe/Madrid"}
    return world(
        channels={"channels": [{"name": "web"}, {"name": "email", "cost": 1}]},
        campaigns=[campaign("gift", offer("gift", 9), budget=budget)],
    )


_MIDNIGHT: Final = 2_000_066_400_000
"""2033-05-19 in Madrid."""


def test_first_messages_of_a_day_find_their_purse_filled(tmp_path: Path) -> None:
    world = SpendingWorld(_daily_rules(400.0), tmp_path, Random(1))
    world.now_ms = _MIDNIGHT - 60_000
    world.process_all()
    world.now_ms = _MIDNIGHT - 5_000
    world.process_all()
    assert world.now_ms >= _MIDNIGHT
    for time_ms, number in ((_MIDNIGHT - 1, 0), (_MIDNIGHT, 1), (_MIDNIGHT + 1, 2)):
        world.now_ms = time_ms
        world.put("Go", f"c{number}")
    while world.worker.unread_places() or world.worker.in_flight_counts():
        world.work(50)
    spends = [
        spend for _, decision in world.logs.read(topics.DECISIONS) for spend in decision.spends
    ]
    assert Counter(spend.period for spend in spends) == {"day 2033-05-18": 1, "day 2033-05-19": 2}


@settings(max_examples=cases(60), deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((0, 15)))
def test_no_day_spends_more_than_it_has(seed: int, kill_percent: int) -> None:
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = SpendingWorld(_daily_rules(), Path(folder), random)
        world.now_ms = _MIDNIGHT - 40_000
        for _ in range(80):
            choice = random.randrange(4)
            if choice == 0:
                world.put("Go", f"c{random.randrange(9)}")
            elif choice == 1:
                world.work(random.randrange(12))
            else:
                world.learn(random.randrange(6))
                world.now_ms += random.randrange(2_000)
            if random.randrange(100) < kill_percent:
                world.doom_worker()
            if random.randrange(100) < kill_percent:
                world.restart_learner(loses_disk=random.randrange(4) == 0)
        world.process_all()
        spent_tokens = Counter[str]()
        decisions = {
            decision.decision_id: decision for _, decision in world.logs.read(topics.DECISIONS)
        }
        for decision in decisions.values():
            for spend in decision.spends:
                spent_tokens[spend.period] += round(spend.amount * TOKENS)
        assert all(amount <= 4 * TOKENS for amount in spent_tokens.values()), spent_tokens
        account = world.ledger.accounts["gift"]
        assert account.gross_spending == spent_tokens[account.period.name]
        world.ledger.close()


def _rules_with_budget(amount: float | None) -> Rules:
    parts = {} if amount is None else {"budget": amount}
    return world(
        channels={"channels": [{"name": "web"}, {"name": "email", "cost": 1}]},
        campaigns=[
            campaign("gift", offer("gift", 9), **parts),
            campaign("other", offer("other", 9), trigger={"name": "Never"}, budget=5),
        ],
    )


def _send_interactions(world: SpendingWorld, count: int) -> int:
    """Send `count` interactions, and return the number of all messages so far."""
    for number in range(count):
        world.put("Go", f"c{number}")
    world.process_all()
    return len(world.actions("email"))


def test_budget_lowered_below_its_spending_spends_nothing_more(tmp_path: Path) -> None:
    world = SpendingWorld(_rules_with_budget(12), tmp_path, Random(3))
    world.process_all()
    assert _send_interactions(world, 5) == 5
    world.apply(_rules_with_budget(3))
    world.process_all()
    assert _send_interactions(world, 9) == 5
    record = world.records["gift"]
    assert (record.budget, record.spent, record.leased) == (3, 5, 0)
    world.apply(_rules_with_budget(7))
    world.process_all()
    for _ in range(4):
        _send_interactions(world, 9)
    assert len(world.actions("email")) == 7
    assert world.records["gift"].spent == 7


def test_removed_budget_holds_nothing_back_and_its_spending_counts_when_it_returns(
    tmp_path: Path,
) -> None:
    world = SpendingWorld(_rules_with_budget(6), tmp_path, Random(4))
    world.process_all()
    assert _send_interactions(world, 2) == 2
    assert world.records["gift"].leased > 0
    world.apply(_rules_with_budget(None))
    world.process_all()
    assert world.records["gift"].leased == 0
    assert _send_interactions(world, 9) == 11
    world.apply(_rules_with_budget(6))
    world.process_all()
    for _ in range(4):
        _send_interactions(world, 9)
    assert len(world.actions("email")) == 11 + 4
    assert world.spent_tokens("gift") == 6 * TOKENS


@pytest.mark.parametrize("seed", range(5))
def test_last_item_is_available_in_every_partition(tmp_path: Path, seed: int) -> None:
    world = SpendingWorld(_rules(confirm_within="1d"), tmp_path, Random(seed))
    world.process_all()
    for number in range(60):
        if world.logs.partition_of(f"x{number}".encode()) == 0:
            world.put("Look", f"x{number}", asks=True)
            world.process_all()
            _check_budgets(world)
    for name in _SHELF:
        assert world.ledger.accounts[f"shelf/{name}"].left == 0, name


@cache
def _rules_with_last_item() -> Rules:
    tile = {"treatments": [{"treatment": "tile", "channel": "web", "placement": "hero"}]}
    return world(
        channels={"channels": [{"name": "web", "placements": ["hero"], "confirm_within": "1d"}]},
        campaigns=[campaign("shop", {"offer": "item", "value": 3, "catalog": "shelf", **tile})],
        catalogs=[{"catalog": "shelf", "table": "none.csv", "items": [{"id": "last", "stock": 1}]}],
    )


_LAST_ITEM: Final = "shelf/last"
_ROUND_MS: Final = 500
_HOLD_ROUNDS: Final = 4
_RETURN_ROUNDS: Final = 4
"""Rounds, at most, until a recall is confirmed and the next grant has arrived, without kills."""


def _max_rounds(partitions: int, interval: int) -> int:
    """Return the number of rounds of the learner within which the last item is given away.

    One partition has a customer for the item in every `interval`-th round, whatever the other
    partitions ask for. In each turn that partition waits once for every other partition, which
    holds the item at most twice as long. Its own hold doubles with each turn, until a customer
    must come within the hold.
    """
    round_count, hold = interval, _HOLD_ROUNDS
    while True:
        round_count += (partitions - 1) * (2 * hold + _RETURN_ROUNDS) + hold + _RETURN_ROUNDS
        if hold >= interval + _RETURN_ROUNDS:
            return round_count
        hold *= 2


@settings(max_examples=cases(40), deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 5),
    st.integers(1, 12),
    st.sampled_from((0.1, 0.5, 1.0)),
    st.sampled_from((0, 4)),
)
def test_last_item_goes_to_a_partition_that_keeps_asking(
    seed: int, partitions: int, interval: int, tease_share: float, kill_percent: int
) -> None:
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = SpendingWorld(_rules_with_last_item(), Path(folder), random, partitions)
        world.process_all()
        asking_partition, round_count = random.randrange(partitions), 0
        while not world.spent_tokens(_LAST_ITEM):
            for partition in world.partitions:
                # The other partitions ask only while they do not hold the last item.
                is_teasing = not _has_last_item(world, partition) and random.random() < tease_share
                if round_count % interval == 0 if partition == asking_partition else is_teasing:
                    world.put("Look", _customer_of(world, partition), asks=True)
            _run_round(world, random, kill_percent)
            round_count += 1
            assert round_count <= _max_rounds(partitions, interval) + 8 * world.kill_count
        world.process_all()
        assert world.spent_tokens(_LAST_ITEM) == TOKENS
        world.ledger.close()


def _has_last_item(world: SpendingWorld, partition: int) -> bool:
    """Return whether a partition has the item, or a grant of it is in flight."""
    account = world.ledger.accounts[_LAST_ITEM]
    return account.lease_of(partition).left > 0


def _customer_of(world: SpendingWorld, partition: int) -> str:
    names = (f"x{number}" for number in count())
    return next(name for name in names if world.logs.partition_of(name.encode()) == partition)


def _run_round(world: SpendingWorld, random: Random, kill_percent: int) -> None:
    """Run one round of the learner; each process is killed with a chance of `kill_percent`."""
    if random.randrange(100) < kill_percent:
        world.doom_worker()
    if random.randrange(100) < kill_percent:
        world.restart_learner(loses_disk=random.randrange(2) == 0)
    while world.worker.unread_places() or world.worker.in_flight_counts():
        world.work(50)
    world.worker.commit()
    world.learn()
    account = world.ledger.accounts[_LAST_ITEM]
    purses = [purse[_LAST_ITEM] for purse in world.purses() if _LAST_ITEM in purse]
    assert sum(max(purse.granted, purse.spent) for purse in purses) <= TOKENS
    assert account.free >= 0
    world.now_ms += _ROUND_MS


@settings(max_examples=cases(40), deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((0, 10)), st.integers(0, 20))
def test_one_purse_of_a_played_log_spends_as_much_as_leases(
    seed: int, kill_percent: int, visit_count: int
) -> None:
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = SpendingWorld(_rules_with_budget(12), Path(folder), random)
        world.process_all()
        for number in range(visit_count):
            world.put("Go", f"c{number}")
            world.now_ms += 1_000
            world.work(random.randrange(12))
            world.learn(random.randrange(6))
            if random.randrange(100) < kill_percent:
                world.doom_worker()
                world.restart_learner(loses_disk=random.randrange(2) == 0)
        world.process_all()
        assert (
            world.spent_tokens("gift")
            <= _spending_from_one_purse(world)
            == min(visit_count, 12) * TOKENS
        )
        for _ in range(8):  # so that what was leased elsewhere is spent too
            _send_interactions(world, 9)
        assert _spending_from_one_purse(world) == world.spent_tokens("gift") == 12 * TOKENS
        world.ledger.close()


def _spending_from_one_purse(world: SpendingWorld) -> int:
    """Return the tokens that `kairos replay --what-if` spends on the input of the workers."""
    player = LogPlayer(world.rules, lambda emits: deque(emits, maxlen=0) and None)
    _play_inputs(world, player)
    statuses = player.budgets.report(player.now_ms or 0)
    return sum(tokens(status.spent) for status in statuses if status.name == "gift")


def _play_inputs(world: SpendingWorld, player: LogPlayer) -> None:
    records = (record.interaction for _, record in world.logs.read(topics.SEGMENTED))
    interactions_by_id = {record.event_id: record for record in records if record is not None}
    for interaction in sorted(
        interactions_by_id.values(),
        key=lambda interaction: (interaction.received_at, int(interaction.event_id[1:])),
    ):
        player.play(interaction)


def _replay_beside_live(world: SpendingWorld) -> tuple[LiveComparison, str]:
    """Return how a replay's decisions differ from the workers', and the hash of the replay's."""
    replay, decisions_hash = ReplayedDecisions({}), Fingerprint()

    def note(emits: Iterable[Emit]) -> None:
        for emit in replay.note(emits):
            if isinstance(emit.value, Decision):
                decisions_hash.add(emit.value)

    _play_inputs(world, LogPlayer(world.rules, note))
    live_decisions = [decision for _, decision in world.logs.read(topics.DECISIONS)]
    comparison = replay.compare([*live_decisions, *live_decisions])
    assert comparison.decisions == len({decision.decision_id for decision in live_decisions})
    return comparison, decisions_hash.hexdigest()


@settings(max_examples=cases(40), deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from((1.5, 4, 12, 1_000)))
def test_replay_decides_as_live_unless_a_lease_ran_short(seed: int, amount: float) -> None:
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = SpendingWorld(_rules_with_budget(amount), Path(folder), random)
        world.process_all()
        for number in range(random.randrange(40)):
            world.put("Go", f"c{number}")
            world.now_ms += 1_000
            world.work(random.randrange(12))
            world.learn(random.randrange(6))
        world.process_all()
        comparison, replay_hash = _replay_beside_live(world)
        assert _replay_beside_live(world) == (comparison, replay_hash)
        assert comparison.changed == comparison.by_budgets <= comparison.decisions
        budget_fates = [
            candidate.fate
            for _, decision in world.logs.read(topics.DECISIONS)
            for candidate in decision.candidates
            if candidate.fate == "budget gift"
        ]
        if not budget_fates:
            assert comparison.changed == 0
        world.ledger.close()


def test_messages_refused_for_want_of_a_lease_are_counted_beside_a_replay(tmp_path: Path) -> None:
    world = SpendingWorld(_rules_with_budget(2), tmp_path, Random(5))
    for number in range(2):  # before the first lease
        world.put("Go", f"c{number}")
    world.process_all()
    comparison, _ = _replay_beside_live(world)
    assert comparison == LiveComparison(decisions=2, changed=2, by_budgets=2)
