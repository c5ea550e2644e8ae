"""Set of at most 100 texts, the latest ones."""

from typing import Final

from pipeline.enrichment.state import Terms
from pipeline.model.interaction import FactValue, text_of

MAX_TEXTS: Final = 100
"""Maximum of texts in a set, the latest ones."""


def of(value: FactValue, at: int) -> Terms:
    """Return the set of one value, as text, or of the elements of a list, at `at` (ms)."""
    texts = value if isinstance(value, tuple) else (text_of(value),)
    return _latest(dict.fromkeys(texts, at))


def merge(a: Terms, b: Terms) -> Terms:
    """Return the union."""
    return _latest({**a.ats, **{text: max(at, a.ats.get(text, at)) for text, at in b.ats.items()}})


def prune(terms: Terms, floor: int) -> Terms:
    """Return the set without texts up to `floor` (ms)."""
    if min(terms.ats.values(), default=floor + 1) > floor:
        return terms
    return Terms({text: at for text, at in terms.ats.items() if at > floor})


def terms_after(terms: Terms, floor: int) -> tuple[str, ...]:
    """Return the texts after `floor`, sorted."""
    return tuple(sorted(text for text, at in terms.ats.items() if at > floor))


def next_departure(terms: Terms, floor: int) -> int | None:
    """Return the first moment after `floor` of a text; None: there is none."""
    return min((at for at in terms.ats.values() if at > floor), default=None)


def _latest(ats: dict[str, int]) -> Terms:
    if len(ats) <= MAX_TEXTS:
        return Terms(ats)
    latest_items = sorted(ats.items(), key=lambda item: (-item[1], item[0]))[:MAX_TEXTS]
    return Terms(dict(latest_items))
