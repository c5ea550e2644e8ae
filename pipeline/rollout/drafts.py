"""Files with a recommended change applied, from its draft.

A draft is YAML in documents, each of which begins with a comment that names its file: a segment of
its own, rules for policies.yaml, the treatment that an offer keeps, or steps of the journey. The
rest of the file stays unchanged, comments included.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from pipeline.adapters.config_files import ConfigError, load
from pipeline.adapters.journey_file import load_journey

CONFIG: Final = "config"
JOURNEY: Final = "journey.yaml"
_SEPARATOR: Final = "---\n"


class UndraftedError(Exception):
    """Raised for a draft that cannot be applied to these files; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class DraftSources:
    """Files that drafts change: the folder of the configuration, the file of the journey."""

    config: Path | None
    journey: Path | None


def write_draft(sources: DraftSources, draft: str, out: Path) -> list[ConfigError]:
    """Write OUT/config and OUT/journey.yaml with the draft applied, each if it changes; return
    their errors. Raises UndraftedError if the draft changes a file that is not given, or a step or
    an offer that the files do not have."""
    out.mkdir(parents=True)
    documents = [_Document.parse(text) for text in draft.split(_SEPARATOR)]
    errors: list[ConfigError] = []
    journeys = [document for document in documents if document.folder == "journeys"]
    if journeys:
        errors += _write_journey(sources, journeys, out / JOURNEY)
    other_documents = [document for document in documents if document.folder != "journeys"]
    if other_documents:
        errors += _write_config(sources, other_documents, out / CONFIG)
    return errors


@dataclass(frozen=True, slots=True)
class _Document:
    """Document of a draft. `file`: from its comment, such as `segments/gold.yaml`; `is_whole`: it
    has all of the file's steps, not one to be merged."""

    file: str
    text: str
    is_whole: bool

    @classmethod
    def parse(cls, text: str) -> "_Document":
        comment = text.split("\n", 1)[0].removeprefix("# ")
        file, colon, _ = comment.partition(":")
        return cls(file.strip(), text, not colon and "*" not in file)

    @property
    def folder(self) -> str:
        return self.file.partition("/")[0]

    @property
    def content(self) -> Any:
        return YAML(typ="safe").load(self.text)


def _write_journey(
    sources: DraftSources, documents: list[_Document], file: Path
) -> list[ConfigError]:
    if sources.journey is None:
        raise UndraftedError("the draft changes a journey: give --defined FILE")
    yaml = YAML()
    journey = yaml.load(sources.journey.read_text("utf-8"))
    for document in documents:
        steps = document.content["steps"]
        if document.is_whole:
            journey["steps"] = steps
        else:
            _merge_stage(journey, steps[0])
    with file.open("w", encoding="utf-8") as stream:
        yaml.dump(journey, stream)
    result = load_journey(file)
    return result if isinstance(result, list) else []


def _merge_stage(journey: Any, stage: Any) -> None:
    """Replace the prompts of the drafted step, or the split; a new split goes before all steps."""
    if "split" in stage:
        stages = journey["steps"]
        index = next((number for number, old_stage in enumerate(stages) if "split" in old_stage), 0)
        other_stages = [old_stage for old_stage in stages if "split" not in old_stage]
        journey["steps"] = [*other_stages[:index], stage, *other_stages[index:]]
        return
    for step in _steps(journey):
        if step["step"] == stage["step"]:
            step["prompts"] = stage.get("prompts", [])
            return
    raise UndraftedError(f"the journey has no step {stage['step']!r}")


def _steps(journey: Any) -> Iterator[Any]:
    for stage in journey["steps"]:
        yield from stage.get("any_order", [stage] if "step" in stage else [])


def _write_config(
    sources: DraftSources, documents: list[_Document], out: Path
) -> list[ConfigError]:
    if sources.config is None:
        raise UndraftedError("the draft changes the configuration: give --config DIR")
    shutil.copytree(sources.config, out)
    for document in documents:
        match document.folder:
            case "segments":
                (out / document.file).parent.mkdir(exist_ok=True)
                (out / document.file).write_text(document.text, "utf-8")
            case "policies.yaml":
                _add_rules(out / document.file, document.content)
            case _:
                for offer in document.content["offers"]:
                    _keep_treatments(out, offer)
    bundle = load(out)
    return bundle if isinstance(bundle, list) else []


def _add_rules(file: Path, content: dict[str, list[Any]]) -> None:
    yaml = YAML()
    policies = (yaml.load(file.read_text("utf-8")) if file.exists() else None) or {}
    for part, rules in content.items():
        policies[part] = [*(policies.get(part) or ()), *rules]
    with file.open("w", encoding="utf-8") as stream:
        yaml.dump(policies, stream)


def _keep_treatments(config: Path, draft: dict[str, Any]) -> None:
    """Remove an offer's treatments that the draft does not name."""
    yaml = YAML()
    treatments = {treatment["treatment"] for treatment in draft["treatments"]}
    for file in sorted(config.glob("campaigns/*.yaml")):
        campaign = yaml.load(file.read_text("utf-8"))
        for offer in (campaign or {}).get("offers") or ():
            names = {treatment["treatment"] for treatment in offer["treatments"]}
            if offer["offer"] == draft["offer"] and treatments <= names:
                offer["treatments"] = [
                    treatment
                    for treatment in offer["treatments"]
                    if treatment["treatment"] in treatments
                ]
                with file.open("w", encoding="utf-8") as stream:
                    yaml.dump(campaign, stream)
                return
    raise UndraftedError(
        f"no campaign has an offer {draft['offer']!r} with the treatment "
        f"{', '.join(sorted(treatments))}"
    )
