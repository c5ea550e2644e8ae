"""Drafts of configuration for recommended changes, as YAML.

Parts that only people can write, such as the text of a message, are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from pipeline.config.model.journeys import Journey, JourneyStep
from pipeline.insights.case_choices import ARROW, WITH_STEP, arm_of_option, config_name
from pipeline.insights.choices import ChoiceProposal, ChoiceRows, Option

_BEST_ARM_SHARE: Final = 0.9
"""Share of the better arm."""


def draft(proposal: ChoiceProposal, journey: Journey | None, is_experiment: bool) -> str:
    """Return the change as YAML; `is_experiment`: one that compares the options."""
    rows = proposal.rows
    if is_experiment:
        return _random_split(rows, journey)
    if proposal.by:
        return _segments(proposal)
    match rows.kind:
        case "arm":
            return _arm_shares(rows, proposal.option)
        case "count":
            return _count_shares(rows, proposal.option)
        case "order" | "step":
            return _stages(rows, proposal.option, journey)
    return _prompt(rows.place, proposal.option, journey)


def _arm_shares(rows: ChoiceRows, best_option: Option) -> str:
    """Return the split with nearly all customers in the best arm, and a few in the others."""
    other_names = [option.message for option in rows.options if option != best_option]
    other_share = round((1.0 - _BEST_ARM_SHARE) / len(other_names), 6)
    arms = {
        best_option.message: round(1.0 - other_share * len(other_names), 6),
        **dict.fromkeys(other_names, other_share),
    }
    return f"# journeys/*.yaml\nsteps:\n  - split: {{by: share, arms: {_json_text(arms)}}}\n"


def _count_shares(rows: ChoiceRows, best_option: Option) -> str:
    """Return the experiment's split with nearly all customers at the best number of steps."""
    arms = tuple(
        Option("arm", arm_of_option(rows.kind, rows.place, option)) for option in rows.options
    )
    return _arm_shares(replace(rows, options=arms), arms[rows.options.index(best_option)])


def _stages(rows: ChoiceRows, best_option: Option, journey: Journey | None) -> str:
    """Return the journey's stages with steps in the best order, or with an optional step that is
    made mandatory or removed."""
    assert journey is not None, rows.place  # without one there are no such choices
    names = best_option.message.split(ARROW)
    arms = {arm_of_option(rows.kind, rows.place, option) for option in rows.options}
    draft_stages: list[object] = []  # stages and steps, whose defaults are left out of the text
    for stage in journey.steps:
        if stage.split is not None and arms >= stage.split.arms.keys():
            continue  # the experiment whose result the draft applies
        steps = stage.steps()
        if rows.kind == "order" and {step.step for step in steps} == set(names):
            draft_stages += [step for name in names for step in steps if step.step == name]
            continue
        if rows.kind == "step" and any(step.step == rows.place for step in steps):
            remaining_steps = [
                msgspec.structs.replace(step, mandatory=True) if step.step == rows.place else step
                for step in steps
                if best_option == WITH_STEP or step.step != rows.place
            ]
            draft_stages += (
                remaining_steps if len(remaining_steps) < 2 else [{"any_order": remaining_steps}]
            )
            continue
        draft_stages.append(stage)
    lines = "".join(f"  - {_json_text(stage)}\n" for stage in draft_stages)
    return f"# journeys/{journey.journey}.yaml\nsteps:\n{lines}"


def _prompt(place: str, option: Option, journey: Journey | None) -> str:
    """Return the step with its prompt, if the journey has the step, and the offer's treatment."""
    step = _find_step(journey, place)
    if step is None:
        return _no_offers() if option.is_nothing else _offer_draft(option)
    prompts = [] if option.is_nothing else [{"offers": [option.offer or option.message]}]
    step_draft = (
        "# journeys/*.yaml: the step\n"
        "steps:\n"
        f"  - step: {_json_text(step.step)}\n"
        f"    mandatory: {_json_text(step.mandatory)}\n"
        f"    reached: {_json_text(step.reached)}\n"
        f"    prompts: {_json_text(prompts)}\n"
    )
    return step_draft if option.is_nothing else f"{step_draft}---\n{_offer_draft(option)}"


def _no_offers() -> str:
    return "# campaigns/*.yaml: none of the offers that were made for the step\noffers: []\n"


def _offer_draft(option: Option) -> str:
    return (
        "# campaigns/*.yaml: of the offer's treatments keep this one, with its content\n"
        "offers:\n"
        f"  - offer: {_json_text(option.offer or option.message)}\n"
        "    treatments:\n"
        f"      - treatment: {_json_text(option.message)}\n"
        f"        channel: {_json_text(option.channel)}\n"
    )


def _segments(proposal: ChoiceProposal) -> str:
    """Return a segment for the strata of each option, and rules that limit each message to its
    segment."""
    parts = [_OptionSegment.of(proposal, option) for option in sorted(set(proposal.by_stratum))]
    segments = "---\n".join(
        f"# segments/{part.segment}.yaml\nsegment: {part.segment}\nwhen: {part.condition}\n"
        for part in parts
    )
    rules = "".join(
        f"  - rule: only-{part.segment}\n"
        f"    for: {{treatment: {_json_text(part.option.message)}}}\n"
        f"    when: {{segment: {part.segment}}}\n"
        for part in parts
        if not part.option.is_nothing
    )
    return segments + ("---\n# policies.yaml\nsuitability:\n" + rules if rules else "")


@dataclass(frozen=True, slots=True)
class _OptionSegment:
    """Customers who should get an option, as a segment with a condition on traits."""

    segment: str
    condition: str
    option: Option

    @classmethod
    def of(cls, proposal: ChoiceProposal, option: int) -> "_OptionSegment":
        rows = proposal.rows
        strata = [
            values
            for values, stratum_option in zip(rows.strata, proposal.by_stratum, strict=True)
            if stratum_option == option
        ]
        alternatives = [_match_all(proposal.by, values) for values in strata]
        part_option = rows.options[option]
        name = "-".join(
            ("for", part_option.channel or "nothing", *("-".join(stratum) for stratum in strata))
        )
        condition = alternatives[0] if len(alternatives) == 1 else {"any": alternatives}
        return cls(config_name(name), _json_text(condition), part_option)


def _match_all(columns: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
    checks: list[dict[str, Any]] = [
        {"trait": column, "is": value} if value else {"trait": column, "exists": False}
        for column, value in zip(columns, values, strict=True)
    ]
    return checks[0] if len(checks) == 1 else {"all": checks}


def _random_split(rows: ChoiceRows, journey: Journey | None) -> str:
    """Return a random split over the observed options."""
    names = [arm_of_option(rows.kind, rows.place, option) for option in rows.options]
    if len(names) == 1:
        names.append("nothing" if names[0] != "nothing" else "message")
    share = round(1.0 / len(names), 6)
    arms = dict.fromkeys(names[1:], share)
    arms[names[0]] = round(1.0 - share * (len(names) - 1), 6)
    file_name = "journeys/*.yaml" if journey is None else f"journeys/{journey.journey}.yaml"
    return (
        f"# {file_name}: before the step, each customer gets an arm by chance\n"
        "steps:\n"
        f"  - split: {{by: share, arms: {_json_text(arms)}, "
        f"hypothesis: {_json_text('What is best at ' + rows.place + '?')}}}\n"
    )


def _find_step(journey: Journey | None, place: str) -> JourneyStep | None:
    if journey is None:
        return None
    steps = (step for stage in journey.steps for step in stage.steps())
    return next((step for step in steps if step.step == place), None)


def _json_text(value: object) -> str:
    """Return JSON, a subset of YAML."""
    return msgspec.json.encode(value).decode()
