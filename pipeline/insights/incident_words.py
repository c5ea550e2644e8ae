"""Incidents in words for a business user, in English and Spanish."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from pipeline.insights.campaigns import iso_day
from pipeline.insights.incidents import Incident, SeriesEvidence

Language: TypeAlias = Literal["en", "es"]

_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "fewer goes on": "fewer visits than usual went from {step} to {to} {where}: {observed} "
        "instead of about {expected}",
        "more goes on": "more visits than usual went from {step} to {to} {where}: {observed} "
        "instead of about {expected}",
        "fewer volume": "fewer {step} than usual {where}: {observed} instead of about {expected}",
        "more volume": "more {step} than usual {where}: {observed} instead of about {expected}",
        "span": "From {first} to {last}",
        "day": "On {first}",
        "ongoing": "Since {first}, and until the end of the data,",
        "in": "in {channel}",
        "all": "over all channels",
        "loss": " It cost about {goals} × {goal} ({low} to {high})",
        "worth": ", worth about {worth}",
    },
    "es": {
        "fewer goes on": "menos visitas de lo normal pasaron de {step} a {to} {where}: {observed} "
        "en vez de unas {expected}",
        "more goes on": "más visitas de lo normal pasaron de {step} a {to} {where}: {observed} "
        "en vez de unas {expected}",
        "fewer volume": "hubo menos {step} de lo normal {where}: {observed} en vez de unos "
        "{expected}",
        "more volume": "hubo más {step} de lo normal {where}: {observed} en vez de unos {expected}",
        "span": "Del {first} al {last}",
        "day": "El {first}",
        "ongoing": "Desde el {first}, y todavía al final,",
        "in": "en {channel}",
        "all": "en todos los canales",
        "loss": " Costó unas {goals} × {goal} (de {low} a {high})",
        "worth": ", por valor de unos {worth}",
    },
}


def incident_words(
    incident: Incident, goal: str | None, worth: float | None, language: Language = "en"
) -> str:
    """Return the incident in words: days, change and cost; `worth`: of one goal (None: not
    named)."""
    words = _WORDS[language]
    main_evidence = next(
        (evidence for evidence in incident.evidence if evidence.kind == "goes on"),
        incident.evidence[0],
    )
    first, last = iso_day(incident.first_day), iso_day(incident.last_day)
    dates_key = "ongoing" if incident.ongoing else "day" if first == last else "span"
    change = evidence_words(main_evidence, language)
    text = f"{words[dates_key].format(first=first, last=last)} {change}."
    if incident.loss is None or goal is None:
        return text
    loss = incident.loss
    text += words["loss"].format(
        goals=_whole_number(loss.goals, language),
        goal=goal,
        low=_whole_number(loss.low, language),
        high=_whole_number(loss.high, language),
    )
    if worth:
        text += words["worth"].format(worth=_whole_number(loss.goals * worth, language))
    return text + "."


def evidence_words(evidence: SeriesEvidence, language: Language = "en") -> str:
    """Return an anomaly as a clause."""
    words = _WORDS[language]
    channel_words = (
        words["all"] if evidence.channel is None else words["in"].format(channel=evidence.channel)
    )
    return words[f"{evidence.direction} {evidence.kind}"].format(
        step=evidence.step,
        to=evidence.to,
        where=channel_words,
        observed=_whole_number(evidence.observed, language),
        expected=_whole_number(evidence.expected, language),
    )


def _whole_number(number: float, language: Language) -> str:
    """Return a number without decimals, its thousands as the language separates them."""
    text = f"{number:,.0f}"
    return text if language == "en" else text.replace(",", ".")
