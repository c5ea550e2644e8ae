"""Rules in words: the stage and rule that rejected a treatment, and the rule's text."""

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from pipeline.config import model
from pipeline.config.compiled import STAGES
from pipeline.decisioning.explain.phrases import Language, phrase

CONSTRAINT: Final = "constraint"
_BUILT_IN_RULES: Final = (
    "campaign not begun", "campaign over", "treatment not begun", "treatment over", "trigger",
    "deadline passed",
    "interaction too old", "audience", "offer condition", "item not valid now", "not among",
    "excluded", "beyond the best", "out of stock",
)  # fmt: skip
_RULE_PREFIXES: Final = ("content needs", "no address:", "address of another:")
_CONSTRAINTS: Final = ("consent", "suppression", "quiet hours", "cap", "budget", "content")


class RejectedTreatment(Struct, frozen=True):
    """Treatment with the stage and rule that rejected it."""

    treatment: str
    stage: str
    rule: str
    words: str


def constraint_of(fate: str) -> str | None:
    """Return the kind of constraint that a fate names; None: it names none."""
    return next((kind for kind in _CONSTRAINTS if fate.startswith(f"{kind} ")), None)


class RuleWords(Struct, frozen=True):
    """Words of a configuration's rules, in a language."""

    language: Language
    own_words: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, bundle: model.Bundle, language: Language) -> "RuleWords":
        """Return the words that a configuration has for its rules."""
        return cls(language, {key: words for key, words in _own_words(bundle) if words})

    def rejection_by_rule(self, treatment: str, label: str) -> RejectedTreatment:
        """Return the rejection of a treatment by a rule of the engagement policy; `label` is
        `stage/rule`."""
        stage, _, rule = label.partition("/")
        return RejectedTreatment(treatment, stage, rule, self._rule_words(stage, rule))

    def rejection_by_constraint(self, treatment: str, fate: str, kind: str) -> RejectedTreatment:
        """Return the rejection of a treatment by a constraint of this kind."""
        name = fate.removeprefix(f"{kind} ")
        text = self.own_words.get((kind, name))
        words = phrase(self.language, kind, name=name)
        return RejectedTreatment(
            treatment, CONSTRAINT, fate, words if text is None else f"{words} {text}"
        )

    def _rule_words(self, stage: str, rule: str) -> str:
        if rule in _BUILT_IN_RULES:
            return phrase(self.language, rule)
        for prefix in _RULE_PREFIXES:
            if rule.startswith(f"{prefix} "):
                name = rule.removeprefix(f"{prefix} ")
                return phrase(self.language, prefix.rstrip(":"), name=name)
        words = phrase(self.language, "rule", name=rule)
        text = self.own_words.get((stage, rule))
        return words if text is None else f"{words} {text}"


def _own_words(bundle: model.Bundle) -> Iterator[tuple[tuple[str, str], str]]:
    policies = bundle.policies
    yield from _words_of_rules(policies)
    for campaign in bundle.campaigns:
        yield from _words_of_rules(campaign)
        for offer in campaign.offers:
            yield from _words_of_rules(offer)
            for treatment in offer.treatments:
                yield from _words_of_rules(treatment)
    yield from (
        (("suppression", suppression.suppression), suppression.words)
        for suppression in policies.suppressions
    )
    yield from ((("consent", consent.consent), consent.words) for consent in policies.consent)


def _words_of_rules(engagement: model.Engagement) -> Iterator[tuple[tuple[str, str], str]]:
    for stage in STAGES:
        yield from (((stage, rule.rule), rule.words) for rule in getattr(engagement, stage))
