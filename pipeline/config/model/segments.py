"""segments/*.yaml: named conditions on customers."""

from pipeline.config.model.part import Condition, Name, Part


class Segment(Part, frozen=True):
    """Segment of segments/*.yaml. `channels` restricts the interactions that evaluate it; time,
    merges and new configurations evaluate it in any case."""

    segment: Name
    when: Condition
    description: str = ""
    channels: tuple[Name, ...] = ()
