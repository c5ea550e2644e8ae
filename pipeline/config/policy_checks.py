"""Checks of policies beyond their form, in policies.yaml and in campaigns."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pipeline.conditions import Path, Problem, duration_ms
from pipeline.config import model
from pipeline.config.compiled import STAGES
from pipeline.config.names import Names, check_name
from pipeline.config.policies import FIELDS, name_tuple
from pipeline.config.zones import zone

_LISTS: Final = (
    ("caps", "cap"),
    ("suppressions", "suppression"),
    ("quiet_hours", "quiet"),
    ("consent", "consent"),
    ("weights", "weight"),
    ("holdouts", "holdout"),
)
"""Lists of policies.yaml whose parts have a scope, with the field that names each part."""
_LISTS_FOR_ALL_PURPOSES: Final = ("weights",)
"""Lists whose parts may apply to transactional messages."""


def policy_problems(bundle: model.Bundle, names: Names) -> Iterator[Problem]:
    """Check policies.yaml, and yield its problems."""
    policies, names_by_field = bundle.policies, _scope_names(bundle, names)
    yield from engagement_problems(policies, ("policies",), bundle, names)
    for field, name in _LISTS:
        parts = getattr(policies, field)
        yield from repetition_problems(
            name, ("policies", field), name, [getattr(part, name) for part in parts]
        )
        for index, part in enumerate(parts):
            path: Path = ("policies", field, index)
            yield from _scope_problems(part.scope, (*path, "for"), names_by_field)
            if field not in _LISTS_FOR_ALL_PURPOSES and "transactional" in name_tuple(
                part.scope.purpose
            ):
                message = "this does not apply to transactional messages: leave them out"
                yield Problem((*path, "for", "purpose"), message)
    yield from _learning_problems(bundle, names)
    yield from _incremental_problems(bundle)
    if policies.impact_tests is not None:
        arms = policies.impact_tests.arms
        for index, arm in enumerate(arms):
            if arm in arms[:index]:
                message = f"the arm {arm!r} occurs twice: leave one out"
                yield Problem(("policies", "impact_tests", "arms", index), message)
    for index, cap in enumerate(policies.caps):
        yield from _cap_problems(cap, ("policies", "caps", index), names)
    for index, suppression in enumerate(policies.suppressions):
        yield from _suppression_problems(suppression, ("policies", "suppressions", index))
    for index, hours in enumerate(policies.quiet_hours):
        yield from _quiet_problems(hours, ("policies", "quiet_hours", index), names)


def engagement_problems(
    engagement: model.Engagement, path: Path, bundle: model.Bundle, names: Names
) -> Iterator[Problem]:
    """Check rules, except their conditions, and yield their problems."""
    names_by_field = _scope_names(bundle, names)
    for stage in STAGES:
        rules: tuple[model.Rule, ...] = getattr(engagement, stage)
        yield from repetition_problems(
            "rule", (*path, stage), "rule", [rule.rule for rule in rules]
        )
        for index, rule in enumerate(rules):
            yield from _scope_problems(rule.scope, (*path, stage, index, "for"), names_by_field)


def cap_problems(
    caps: tuple[model.Cap, ...], path: Path, bundle: model.Bundle, names: Names
) -> Iterator[Problem]:
    """Check the caps of a campaign or of an offer, and yield their problems."""
    names_by_field = _scope_names(bundle, names)
    yield from repetition_problems("cap", path, "cap", [cap.cap for cap in caps])
    for index, cap in enumerate(caps):
        yield from _cap_problems(cap, (*path, index), names)
        yield from _scope_problems(cap.scope, (*path, index, "for"), names_by_field)


def engagement_sites(
    engagement: model.Engagement, path: Path
) -> Iterator[tuple[Path, model.Condition | None]]:
    """Yield the conditions of rules with their paths."""
    for stage in STAGES:
        for index, rule in enumerate(getattr(engagement, stage)):
            yield (*path, stage, index, "when"), rule.when


def policy_sites(policies: model.Policies) -> Iterator[tuple[Path, model.Condition | None]]:
    """Yield the conditions of policies.yaml with their paths."""
    yield from engagement_sites(policies, ("policies",))
    for field in ("suppressions", "consent", "weights"):
        for index, policy in enumerate(getattr(policies, field)):
            yield ("policies", field, index, "when"), policy.when
    for index, context_bin in enumerate(policies.learning.bins if policies.learning else ()):
        yield ("policies", "learning", "bins", index, "when"), context_bin.when


def repetition_problems(noun: str, path: Path, field: str, values: list[str]) -> Iterator[Problem]:
    """Yield a problem for each repeated value, without showing keys."""
    earlier_values: set[str] = set()
    for index, value in enumerate(values):
        if value in earlier_values:
            value_text = "" if "key" in field else f" {value!r}"
            message = f"the {noun}{value_text} occurs twice: each needs its own"
            yield Problem((*path, index, field), message)
        earlier_values.add(value)


def _scope_names(bundle: model.Bundle, names: Names) -> Mapping[str, frozenset[str]]:
    """Return the names that a scope may contain, by field."""
    offers = [offer for campaign in bundle.campaigns for offer in campaign.offers]
    return {
        "issue": _present_names(offer.issue for offer in offers),
        "group": _present_names(offer.group for offer in offers),
        "offer": _present_names(offer.offer for offer in offers),
        "campaign": _present_names(campaign.campaign for campaign in bundle.campaigns),
        "treatment": _present_names(
            treatment.treatment for offer in offers for treatment in offer.treatments
        ),
        "channel": names.channels,
    }


def _present_names(names: Iterable[str | None]) -> frozenset[str]:
    return frozenset(name for name in names if name is not None)


def _scope_problems(
    scope: model.Scope, path: Path, names_by_field: Mapping[str, frozenset[str]]
) -> Iterator[Problem]:
    for field in FIELDS:
        names = getattr(scope, field)
        for index, name in enumerate(name_tuple(names)):
            names_path = (*path, field) if isinstance(names, str) else (*path, field, index)
            if field in names_by_field:
                yield from check_name(field, name, names_by_field[field], names_path)


def _learning_problems(bundle: model.Bundle, names: Names) -> Iterator[Problem]:
    learning, path = bundle.policies.learning, ("policies", "learning")
    if learning is None:
        return
    yield from repetition_problems(
        "bin", (*path, "bins"), "bin", [context_bin.bin for context_bin in learning.bins]
    )
    channel = learning.scanners.channel
    for index, name in enumerate(name_tuple(channel)):
        channel_path: Path = (*path, "scanners", "channel")
        if learning.scanners != model.Scanners():  # the default's channel may not exist
            name_path = channel_path if isinstance(channel, str) else (*channel_path, index)
            yield from check_name("channel", name, names.channels, name_path)
    if not duration_ms(learning.half_life):
        yield Problem((*path, "half_life"), "evidence would vanish at once: set a longer time")
    if all(campaign.goal is None for campaign in bundle.campaigns):
        message = (
            "no campaign has a `goal`, so there is nothing to learn: give one, or leave this out"
        )
        yield Problem(path, message)


def _incremental_problems(bundle: model.Bundle) -> Iterator[Problem]:
    holdouts = bundle.policies.holdouts
    for index, campaign in enumerate(bundle.campaigns):
        if not campaign.incremental:
            continue
        requirements = [
            (campaign.goal is None, "a `goal`"),
            (campaign.purpose == "transactional", "another purpose"),
            (bundle.policies.learning is None, "`learning` in policies.yaml"),
            (not campaign.holdout and not holdouts, "a `holdout`, to compare with"),
        ]
        for is_missing, requirement in requirements:
            if is_missing:
                yield Problem(
                    ("campaigns", index, "incremental"), f"this needs {requirement}: add it"
                )


def _cap_problems(cap: model.Cap, path: Path, names: Names) -> Iterator[Problem]:
    if cap.channel is not None:
        yield from check_name("channel", cap.channel, names.channels, (*path, "channel"))


def _suppression_problems(suppression: model.Suppression, path: Path) -> Iterator[Problem]:
    if (suppression.when is None) == (suppression.outcome is None):
        message = "set either `when` (an interaction) or `outcome` (of a message)"
        yield Problem((*path, "suppression"), message)
    elif suppression.when is not None and suppression.count > 1:
        message = "count is for an outcome; to count interactions, let `when` read a metric"
        yield Problem((*path, "count"), message)


def _quiet_problems(hours: model.QuietHours, path: Path, names: Names) -> Iterator[Problem]:
    if hours.start == hours.end:
        yield Problem((*path, "to"), "`from` and `to` are equal: set different times")
    if zone(hours.zone) is None:
        message = f"no time zone {hours.zone!r}: use an IANA name such as Europe/Madrid"
        yield Problem((*path, "zone"), message)
    if hours.trait is not None:
        yield from check_name("trait", hours.trait, names.traits, (*path, "trait"))
