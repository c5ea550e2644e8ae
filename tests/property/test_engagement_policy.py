"""A treatment is rejected by the first rule, in the order of stages, that does not hold for it; a
treatment that no rule rejects is a candidate."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import cases
from tests.support.deciding import Life, find_rejecting_rules, hero, world

_STAGES = ("eligibility", "applicability", "suitability")
_FLAGS = ("f0", "f1", "f2", "f3")
_OFFERS = {"a": ("cards", "gold"), "b": ("cards", "plain"), "c": ("loans", "plain")}
_CAMPAIGNS = {"one": ("a", "b"), "two": ("c",)}


@dataclass(frozen=True)
class _DrawnRule:
    """Rule of an `owner` (policies, a campaign, an offer or a treatment) within its `scope`."""

    name: str
    stage: int
    owner: str
    flag: str
    scope: tuple[tuple[str, str], ...]

    def is_for(self, offer: str, campaign: str) -> bool:
        owners = {"policies", f"campaign {campaign}", f"offer {offer}", f"treatment {offer}"}
        issue, group = _OFFERS[offer]
        own_scope = {
            "issue": issue,
            "group": group,
            "offer": offer,
            "campaign": campaign,
            "treatment": f"{offer}-hero",
            "channel": "web",
            "purpose": "marketing",
        }
        return self.owner in owners and all(own_scope[field] == name for field, name in self.scope)

    def as_yaml(self) -> dict[str, Any]:
        condition = {"trait": self.flag, "is": True}
        return {"rule": self.name, "when": condition, "for": dict(self.scope)}


_owners = st.sampled_from(
    ["policies"]
    + [f"campaign {name}" for name in _CAMPAIGNS]
    + [f"{kind} {name}" for name in _OFFERS for kind in ("offer", "treatment")]
)
_scopes = st.dictionaries(
    st.sampled_from(["issue", "group", "offer", "campaign", "treatment", "channel", "purpose"]),
    st.integers(0, 1),
    max_size=2,
)
_CHOICES = {
    "issue": ("cards", "loans"),
    "group": ("gold", "plain"),
    "offer": ("a", "c"),
    "campaign": ("one", "two"),
    "treatment": ("a-hero", "c-hero"),
    "channel": ("web", "email"),
    "purpose": ("marketing", "service"),
}


@st.composite
def _rules(draw: st.DrawFn) -> list[_DrawnRule]:
    return [
        _DrawnRule(
            name=f"r{number}",
            stage=draw(st.integers(0, 2)),
            owner=draw(_owners),
            flag=draw(st.sampled_from(_FLAGS)),
            scope=tuple((field, _CHOICES[field][index]) for field, index in draw(_scopes).items()),
        )
        for number in range(draw(st.integers(0, 8)))
    ]


def _rules_of(rules: list[_DrawnRule], owner: str) -> dict[str, Any]:
    return {
        stage: [rule.as_yaml() for rule in rules if (rule.owner, rule.stage) == (owner, index)]
        for index, stage in enumerate(_STAGES)
    }


def _campaigns(rules: list[_DrawnRule]) -> list[dict[str, Any]]:
    return [
        {
            "campaign": campaign,
            "offers": [
                {
                    "offer": name,
                    "value": 1,
                    "issue": _OFFERS[name][0],
                    "group": _OFFERS[name][1],
                    "treatments": [hero(f"{name}-hero", **_rules_of(rules, f"treatment {name}"))],
                    **_rules_of(rules, f"offer {name}"),
                }
                for name in offers
            ],
            **_rules_of(rules, f"campaign {campaign}"),
        }
        for campaign, offers in _CAMPAIGNS.items()
    ]


@settings(max_examples=cases(150), deadline=None)
@given(_rules(), st.dictionaries(st.sampled_from(_FLAGS), st.booleans()))
def test_first_rejecting_stage_is_recorded(rules: list[_DrawnRule], flags: dict[str, bool]) -> None:
    compiled_rules = world(
        traits=_FLAGS, campaigns=_campaigns(rules), policies=_rules_of(rules, "policies")
    )
    decision = Life(compiled_rules).interact("Home", 0, ask=["hero"], **flags)
    rules_by_treatment = find_rejecting_rules(decision)
    assert sum(map(len, decision.rejected.values())) == len(rules_by_treatment)
    candidates = {candidate.offer for candidate in decision.candidates}
    for campaign, offers in _CAMPAIGNS.items():
        for offer in offers:
            rejecting_rules = [
                rule for rule in rules if rule.is_for(offer, campaign) and not flags.get(rule.flag)
            ]
            if not rejecting_rules:
                assert offer in candidates
                continue
            stage = min(rule.stage for rule in rejecting_rules)
            labels = {
                f"{_STAGES[stage]}/{rule.name}" for rule in rejecting_rules if rule.stage == stage
            }
            assert rules_by_treatment[f"{offer}-hero"] in labels
            assert offer not in candidates
