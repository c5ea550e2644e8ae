"""Holdouts are drawn once, by a fair hash; held-out customers are decided for, and use no cap."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.compiled import CompiledHoldout
from pipeline.decisioning.history import merge
from pipeline.decisioning.holdouts import is_held
from pipeline.decisioning.state import History
from pipeline.model.decision import Assignment, Contact, Decision
from pipeline.model.interaction import Identifier
from pipeline.rules import Rules
from tests.support.cases import cases
from tests.support.deciding import Life, campaign, fates, hero, offer, problems, world

_CAP = {"cap": "once", "per": "offer", "max": 1, "window": "1d"}


def _world(share: float, **scope: object) -> Rules:
    campaigns = [
        campaign("sales", offer("sale", 9, hero("sale-hero"), issue="sell")),
        campaign("care", offer("care", 1, hero("care-hero"), issue="help")),
        campaign("notice", offer("notice", 1), purpose="transactional"),
    ]
    holdouts = [{"holdout": "global", "share": share, "for": scope}]
    return world(campaigns=campaigns, policies={"holdouts": holdouts, "caps": [_CAP]})


def _customer(number: int, rules: Rules) -> Life:
    return Life(rules, (Identifier("customer_id", f"c{number}"),))


def _ask(life: Life, at: int) -> Decision:
    return life.happens("Home", at, ask=["hero"])


def test_a_share_of_customers_is_held_out() -> None:
    rules = _world(0.2)
    said = [
        bool(_ask(life, 0) and life.said()) for life in (_customer(n, rules) for n in range(600))
    ]
    assert 0.15 < said.count(False) / len(said) < 0.25


def test_the_hash_draws_every_share_and_each_holdout_by_itself() -> None:
    people = [f"person-{n}" for n in range(10_000)]
    for share in (0.01, 0.3, 0.9):
        one, other = (
            {who for who in people if is_held(CompiledHoldout(name, share), who)}
            for name in ("a", "b")
        )
        for drawn in (one, other):
            assert abs(len(drawn) / len(people) - share) < 0.02
        assert abs(len(one & other) / len(people) - share * share) < 0.02


def _held(rules: Rules) -> Life:
    return next(
        life
        for life in (_customer(n, rules) for n in range(1_000))
        if _ask(life, 0).choices[0].holdout is not None
    )


def test_held_out_customers_are_decided_for_and_use_no_cap() -> None:
    life = _held(_world(0.1))
    for at in range(1, 4):
        decision = _ask(life, at)
        [choice] = decision.choices
        assert (choice.action_id, choice.holdout, choice.would_be) == (None, "global", "sale-hero")
        assert fates(decision) == {
            "sale-hero": "held out by global",
            "care-hero": "beaten by sale-hero",
        }
        assert decision.holdouts == (Assignment("global", True, 0),)
        assert not decision.contacts
        assert not life.said()


def test_transactional_message_goes_to_a_held_out_customer() -> None:
    life = _held(_world(0.1))
    decision = life.happens("Go", 5)
    assert life.said() == ["notice-email"]
    assert decision.choices[0].holdout is None


def test_a_holdout_of_an_issue_leaves_the_others_alone() -> None:
    rules = _world(0.5, issue="sell")
    for life in (_customer(n, rules) for n in range(20)):
        first, second = _ask(life, 0), _ask(life, 1)
        if first.choices[0].holdout is None:
            assert life.said() == ["care-hero"]  # the sale is capped
        else:
            assert second.choices[0].would_be == "sale-hero"


def test_a_campaign_has_its_own() -> None:
    campaigns = [campaign("sales", offer("sale", 9, hero("sale-hero")), holdout=0.5)]
    rules = world(campaigns=campaigns)
    held = {_ask(_customer(n, rules), 0).choices[0].holdout for n in range(20)}
    assert held == {None, "campaign/sales"}


def test_holdout_is_drawn_only_when_a_message_would_be_sent() -> None:
    life = _customer(1, _world(0.5))
    decision = life.happens("Elsewhere", 0)
    assert not decision.holdouts
    assert _ask(life, 1).holdouts[0].at == 1


def test_the_draw_stays_whatever_the_share_becomes() -> None:
    life = _held(_world(0.1))
    life.flow.rules = _world(0.000001)
    assert _ask(life, 9).choices[0].holdout == "global"


def test_two_draws_that_differ_are_flagged_after_a_merge_and_the_first_holds() -> None:
    rules = _world(0.5)
    for number in range(40):
        ada, cookie = (Identifier("customer_id", f"c{number}"),), (Identifier("cookie", "k"),)
        life = Life(rules)
        held = []
        for at, who in enumerate((cookie, ada)):
            held.append(life.happens("Home", at, who=who, ask=["hero"]).holdouts[0].held)
        life.happens("Login", 5, who=(*ada, *cookie))
        [drawn] = life.happens("Home", 6, who=ada, ask=["hero"]).holdouts
        assert (drawn.held, drawn.conflict) == (held[0], held[0] is not held[1])


_assignments = st.dictionaries(
    st.sampled_from("ab"),
    st.builds(lambda held, at, conflict: Assignment("x", held, at, conflict),
              st.booleans(), st.integers(0, 2), st.booleans()),
)  # fmt: skip
_contacts = st.lists(
    st.builds(
        lambda number, status, at: Contact(
            f"a{number}",
            "c",
            "o",
            "t",
            "web",
            "marketing",
            number,
            status,
            outcomes={"click": (at,)},
        ),
        st.integers(0, 3),
        st.sampled_from(["reserved", "committed", "released"]),
        st.integers(0, 3),
    ),
    unique_by=lambda one: one.action_id,
)
_histories = st.builds(
    lambda contacts, silenced, drawn: History(
        tuple(sorted(contacts, key=lambda one: one.at)), silenced, drawn
    ),
    _contacts,
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 3)),
    _assignments,
)


@settings(max_examples=cases(300))
@given(_histories, _histories, _histories)
def test_histories_merge_in_any_order_to_the_same(a: History, b: History, c: History) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == a
    assert merge(a, History()) == a


def test_mistakes_are_named() -> None:
    held = {"holdout": "h", "share": 0.1, "for": {"purpose": "transactional"}}
    campaigns = [campaign("c", offer("o", 1), purpose="transactional", holdout=0.1)]
    found = problems(campaigns=campaigns, policies={"holdouts": [held]})
    assert [at for at, _ in found] == ["policies/holdouts/0/for/purpose", "campaigns/0/holdout"]
