"""Snapshot of learned evidence in learned.yaml: checked, and compiled."""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import asdict, replace

from pipeline.conditions import Path, Problem, UnknownName
from pipeline.config import model
from pipeline.model.learning import LearningRecord, Posterior, digest_of

_DIGITS: Final = 6
"""Decimals of evidence that a file has: people read it."""


def fixed_snapshot(learned: model.Learned) -> LearningRecord:
    """Return the record that the learner would have published."""
    posteriors = tuple(Posterior(**asdict(entry)) for entry in learned.evidence)
    return LearningRecord(learned.number, digest_of(posteriors), 0, posteriors=posteriors)


def learned_from(record: LearningRecord) -> model.Learned:
    """Return a published snapshot as learned.yaml has it."""
    rounded = (
        replace(
            posterior,
            trials=round(posterior.trials, _DIGITS),
            successes=round(posterior.successes, _DIGITS),
        )
        for posterior in record.posteriors
    )
    evidence = tuple(model.LearnedEvidence(**asdict(entry)) for entry in rounded)
    return model.Learned(record.number, evidence)


def learned_problems(bundle: model.Bundle) -> Iterator[Problem]:
    """Check learned.yaml, and yield its problems. It may know of treatments and bins that are gone,
    as a learner does."""
    if bundle.learned is None:
        return
    learning = bundle.policies.learning
    if learning is None or not learning.frozen:
        message = (
            "decisions would not go by this file: write `learning: {frozen: true}` in "
            "policies.yaml, or delete the file"
        )
        yield Problem(("learned", "number"), message, UnknownName("rule of learning", "frozen"))
    seen: set[tuple[str, str, str, str]] = set()
    for index, entry in enumerate(bundle.learned.evidence):
        path: Path = ("learned", "evidence", index)
        arm = (entry.campaign, entry.offer, entry.treatment, entry.bin)
        if arm in seen:
            yield Problem(path, "this is there twice: leave one out")
        seen.add(arm)
        for part, whole in (("successes", "trials"), ("reached", "tried")):
            if getattr(entry, part) > getattr(entry, whole):
                message = f"{part} are among {whole}, and there cannot be more of them"
                yield Problem((*path, part), message)
