"""Content with `{trait}` and `{properties.name}` replaced by what is known of the customer."""

from pipeline.conditions import Facts
from pipeline.config.compiled import Candidate
from pipeline.config.content import filled
from pipeline.model.interaction import Known


def missing_name(candidate: Candidate, facts: Facts) -> str | None:
    """A name that the content needs and nobody knows; such a message is not sent half empty."""
    for name, read in candidate.needs:
        if read(facts) is None:
            return name
    return None


def render(candidate: Candidate, facts: Facts) -> dict[str, str]:
    """The content for one customer; every name is known (`missing_name` is None)."""
    values = {name: _text(read(facts)) for name, read in candidate.needs}
    return {part: filled(text, values) for part, text in candidate.content.items()}


def _text(value: Known) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
