"""Snapshot of learned evidence in learned.yaml: checked, and compiled."""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import asdict, replace

from pipeline.conditions import Path, Problem, UnknownName
from pipeline.config import model
from pipeline.model.learning import LearningRecord, Posterior, digest_of

_DIGITS: Final = 6
"""Decimals of the evidence in a file, which people read."""


def fixed_snapshot(snapshot: model.Learned) -> LearningRecord:
    """Return the record that the learner would have published."""
    posteriors = tuple(Posterior(**asdict(entry)) for entry in snapshot.evidence)
    return LearningRecord(snapshot.number, digest_of(posteriors), 0, posteriors=posteriors)


def learned_file(record: LearningRecord) -> model.Learned:
    """Return a published snapshot as learned.yaml has it."""
    posteriors = (
        replace(
            posterior,
            trials=round(posterior.trials, _DIGITS),
            successes=round(posterior.successes, _DIGITS),
        )
        for posterior in record.posteriors
    )
    evidence = tuple(model.LearnedEvidence(**asdict(entry)) for entry in posteriors)
    return model.Learned(record.number, evidence)


def learned_problems(bundle: model.Bundle) -> Iterator[Problem]:
    """Check learned.yaml, and yield its problems.

    It may hold evidence of treatments and bins that no longer exist, as a learner's snapshot does.
    """
    if bundle.learned is None:
        return
    learning = bundle.policies.learning
    if learning is None or not learning.frozen:
        message = (
            "decisions would not use this file: write `learning: {frozen: true}` in "
            "policies.yaml, or delete the file"
        )
        yield Problem(("learned", "number"), message, UnknownName("rule of learning", "frozen"))
    arms: set[tuple[str, str, str, str]] = set()
    for index, entry in enumerate(bundle.learned.evidence):
        path: Path = ("learned", "evidence", index)
        arm = (entry.campaign, entry.offer, entry.treatment, entry.bin)
        if arm in arms:
            yield Problem(path, "this entry occurs twice: leave one out")
        arms.add(arm)
        for part, total in (("successes", "trials"), ("reached", "tried")):
            if getattr(entry, part) > getattr(entry, total):
                message = f"{part} are counted among {total}: make {part} at most as many"
                yield Problem((*path, part), message)
