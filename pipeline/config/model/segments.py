"""segments/*.yaml: named conditions on customers."""

from pipeline.config.model.part import Condition, Name, Part


class Segment(Part, frozen=True):
    """segments/*.yaml; with `channels`, only interactions of these channels evaluate it (time and
    merges do so too)."""

    segment: Name
    when: Condition
    description: str = ""
    channels: tuple[Name, ...] = ()
