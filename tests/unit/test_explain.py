"""An explanation has the reasons for and against, consistent numbers, and a change that flips the
decision."""

import re
from string import Formatter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decisioning.explain import Explanation, explain
from pipeline.decisioning.explain.phrases import PHRASES, number
from pipeline.model.decision import Decision
from pipeline.model.time import DAY_MS
from tests.support.cases import cases
from tests.support.deciding import Life, campaign, hero, offer, world

_POLICIES: dict[str, Any] = {
    "caps": [{"cap": "once", "per": "offer", "max": 1, "window": "1d", "for": {"offer": "old"}}],
    "suppressions": [
        {
            "suppression": "credit",
            "when": {"name": "Credit Check Failed"},
            "duration": "90d",
            "for": {"issue": "cards"},
            "words": "The credit check failed.",
        }
    ],
}
_CAMPAIGNS = [
    campaign(
        "page",
        offer("old", 9, hero("old-hero")),
        offer("gold", 8, hero("gold-hero"), issue="cards"),
        offer("best", 6, hero("best-hero", p=0.5)),
        offer("next", 3, hero("next-hero", cost=1)),
        offer("rich", 99, hero("rich-hero", content={"t": "{worth}"})),
        offer(
            "adult",
            99,
            hero("adult-hero"),
            eligibility=[
                {"rule": "adults", "when": {"trait": "age", "gte": 18}, "words": "For adults only."}
            ],
        ),
    ),
    campaign("mail", offer("mail", 0.25)),
]


def _life() -> Life:
    return Life(world(traits=("age", "worth"), campaigns=_CAMPAIGNS, policies=_POLICIES))


def _decide() -> tuple[Decision, Life]:
    life = _life()
    life.interact("Credit Check Failed", 0)
    life.interact("Home", 1, ask=["hero"])
    return life.interact("Go", 2, ask=["hero"]), life


def _explain(decision: Decision, life: Life, language: Any = "en") -> Explanation:
    return explain(decision, life.flow.rules.config, language)


def _json(explanation: Explanation) -> Any:
    return msgspec.json.decode(msgspec.json.encode(explanation))


def test_explanation_has_its_documented_shape() -> None:
    explanation = _json(_explain(*_decide()))
    assert list(explanation) == [
        "decision_id", "profile_id", "decided_at", "config", "snapshot", "slots", "words",
    ]  # fmt: skip
    assert [slot["slot"] for slot in explanation["slots"]] == ["hero", "email"]
    for slot in explanation["slots"]:
        assert list(slot) == [
            "slot", "chosen", "propensity", "candidates", "rejected", "flip", "words",
        ]  # fmt: skip
        for candidate in slot["candidates"]:
            assert list(candidate) == [
                "treatment", "channel", "p", "value", "cost", "weight", "score", "fate", "pros",
                "cons",
            ]  # fmt: skip
            score = (candidate["p"] * candidate["value"] - candidate["cost"]) * candidate["weight"]
            assert candidate["score"] == pytest.approx(score)
        for rejection in slot["rejected"]:
            assert list(rejection) == ["treatment", "stage", "rule", "words"]
            assert rejection["words"]
        assert slot["flip"] is None or list(slot["flip"]) == ["what", "from", "to"]
    [hero_slot, mail] = explanation["slots"]
    assert hero_slot["chosen"] == {
        "treatment": "best-hero", "offer": "best", "campaign": "page", "channel": "web",
    }  # fmt: skip
    assert mail["chosen"] is None


def test_every_stage_explains_each_rejected_treatment() -> None:
    slot = _json(_explain(*_decide()))["slots"][0]
    assert {
        rejection["treatment"]: (rejection["stage"], rejection["rule"])
        for rejection in slot["rejected"]
    } == {
        "old-hero": ("constraint", "cap once"),
        "gold-hero": ("constraint", "suppression credit"),
        "rich-hero": ("suitability", "content needs worth"),
        "adult-hero": ("eligibility", "adults"),
    }
    words = {rejection["treatment"]: rejection["words"] for rejection in slot["rejected"]}
    assert words["adult-hero"].endswith("For adults only.")
    assert words["gold-hero"].endswith("The credit check failed.")
    assert "score 3 = (0.50 × 6 − 0) × 1" in slot["words"]
    assert "The next best, next-hero, scores 2." in slot["words"]


def test_spanish_explanation_has_the_same_content() -> None:
    decision, life = _decide()
    spanish_explanation = _explain(decision, life, "es")
    assert "puntuación 3 = (0,50 × 6 − 0) × 1" in spanish_explanation.words
    assert "no se elige ningún mensaje" in spanish_explanation.words
    english_explanation = _explain(decision, life)
    assert [slot.candidates[0].score for slot in spanish_explanation.slots] == [
        slot.candidates[0].score for slot in english_explanation.slots
    ]


def test_each_sentence_is_in_every_language_with_the_same_parts() -> None:
    english_phrases, spanish_phrases = PHRASES["en"], PHRASES["es"]
    assert english_phrases.keys() == spanish_phrases.keys()
    for key, text in english_phrases.items():
        parts = [{part for _, part, *_ in Formatter().parse(line) if part}
                 for line in (text, spanish_phrases[key])]  # fmt: skip
        assert parts[0] == parts[1], key


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.50"), (2.0, "2"), (1 / 3, "0.333333"), (1234.5, "1234.50")]
)
def test_figures_are_short(value: float, text: str) -> None:
    assert number("en", value) == text
    assert number("es", value) == text.replace(".", ",")


def test_decision_without_slots_is_explained() -> None:
    life = Life(world(campaigns=[campaign("c", offer("o", 1))]))
    decision = life.interact("Elsewhere", DAY_MS)
    explanation = _explain(decision, life)
    assert explanation.words == PHRASES["en"]["nothing asked"]
    [slot] = explanation.slots
    assert (slot.chosen, slot.rejected[0].rule) == (None, "trigger")
    life.interact("Go", DAY_MS)
    outcome = life.react(life.actions()[0], "click", DAY_MS + 1)
    assert _explain(outcome, life).words == PHRASES["en"]["outcome"]


_quarters = st.integers(0, 40).map(lambda n: n / 4)
_offers = st.lists(
    st.tuples(
        _quarters,
        st.sampled_from([0.25, 0.5, 1.0]),
        st.sampled_from([0.0, 0.5, 2.0]),
        st.sampled_from([0.5, 1.0, 3.0]),
    ),
    min_size=1,
    max_size=4,
)


def _decide_with(numbers: list[dict[str, float]]) -> tuple[list[str], Explanation]:
    offers = [
        offer(
            f"o{index}",
            number["value"],
            hero(
                f"t{index}", p=number["p"], cost=number["cost"], levers={"drawn": number["lever"]}
            ),
        )
        for index, number in enumerate(numbers)
    ]
    life = Life(world(campaigns=[campaign("c", *offers)]))
    decision = life.interact("Home", 0, ask=["hero"])
    return life.treatments(), _explain(decision, life)


@settings(max_examples=cases(150), deadline=None)
@given(_offers)
def test_named_change_flips_the_decision_and_half_of_it_does_not(
    figures_of_offers: list[tuple[float, float, float, float]],
) -> None:
    numbers = [
        dict(zip(("value", "p", "cost", "lever"), figures, strict=True))
        for figures in figures_of_offers
    ]
    treatments, explanation = _decide_with(numbers)
    flip = _json(explanation)["slots"][0]["flip"]
    assert flip is not None
    match = re.fullmatch(r"(value|p|cost) of t(\d)", flip["what"])
    assert match is not None
    field, index = match[1], int(match[2])
    assert numbers[index][field] == flip["from"]
    for share, is_flip in ((1.0, True), (0.5, False)):
        changed_numbers = [dict(number) for number in numbers]
        changed_numbers[index][field] = flip["from"] + share * (flip["to"] - flip["from"])
        changed_treatments, _ = _decide_with(changed_numbers)
        if abs(flip["to"] - flip["from"]) > 1e-4 or is_flip:
            assert (changed_treatments != treatments) is is_flip


def test_flip_of_an_only_offer_without_cost_is_a_value_of_zero() -> None:
    _, explanation = _decide_with([{"value": 3.0, "p": 1.0, "cost": 0.0, "lever": 1.0}])
    assert _json(explanation)["slots"][0]["flip"] == {"what": "value of t0", "from": 3.0, "to": 0.0}


_HOLDOUT_WORDS = {
    "en": (
        (
            "hero: sale-hero would have won, but the customer is held out of it by campaign/sales; "
            "the best of the rest is chosen."
        ),
        "the customer is held out by campaign/sales.",
    ),
    "es": (
        (
            "hero: habría ganado sale-hero, pero el cliente está en su grupo de control "
            "campaign/sales; se elige lo mejor del resto."
        ),
        "el cliente está en el grupo de control campaign/sales.",
    ),
}
_NEXT_BEST_WORDS = {
    "en": "hero: care-hero (offer care, campaign care) on web",
    "es": "hero: care-hero (oferta care, campaña care) por web",
}


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("policies", [{}, {"learning": {"prior": 0.5, "ramp": 0}}])
def test_holdout_is_explained_beside_the_next_best_message(
    language: Any, policies: dict[str, Any]
) -> None:
    goal = {"when": {"name": "Bought"}, "window": "3d"}
    sales = campaign("sales", offer("sale", 99, hero("sale-hero")), holdout=0.999_999, goal=goal)
    care = campaign("care", offer("care", 1, hero("care-hero")), goal=goal)
    life = Life(world(campaigns=[sales, care], policies=policies))
    decision = life.interact("Home", 0, ask=["hero"])
    explanation = _json(_explain(decision, life, language))
    [slot] = explanation["slots"]
    sentence, con = _HOLDOUT_WORDS[language]
    assert slot["words"].startswith(sentence)
    assert _NEXT_BEST_WORDS[language] in slot["words"].removeprefix(sentence)
    assert explanation["words"].count(sentence) == 1
    assert slot["chosen"]["treatment"] == "care-hero"
    assert (slot["holdout"], slot["would_be"]) == ("campaign/sales", "sale-hero")
    cons = {candidate["treatment"]: candidate["cons"] for candidate in slot["candidates"]}
    assert con in cons["sale-hero"]
    assert con not in cons["care-hero"]


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", ("hero: no message is chosen, since the customer is held out by all; it would have "
         "been sale-hero.")),
        ("es", ("hero: no se elige ningún mensaje, porque el cliente está en el grupo de control "
         "all; habría sido sale-hero.")),
    ],
)  # fmt: skip
def test_holdout_of_everything_is_explained_with_the_held_out_message(
    language: Any, sentence: str
) -> None:
    sales = campaign("sales", offer("sale", 9, hero("sale-hero")))
    policies = {"holdouts": [{"holdout": "all", "share": 0.999_999}]}
    life = Life(world(campaigns=[sales], policies=policies))
    [slot] = _json(_explain(life.interact("Home", 0, ask=["hero"]), life, language))["slots"]
    assert slot["words"].startswith(sentence)
    assert slot["chosen"] is None
    assert (slot["holdout"], slot["would_be"]) == ("all", "sale-hero")
