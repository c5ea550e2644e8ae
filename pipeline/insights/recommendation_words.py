"""Sentences of recommendations, in English and Spanish."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

Language: TypeAlias = Literal["en", "es"]

_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "Tested": "Tested",
        "Adjusted": "Adjusted",
        "Observed only": "Observed only",
        "say": "{place}: send {message} by {channel}, to all.",
        "say nothing": "{place}: send nothing.",
        "by": "{place}: let {columns} decide: {rules}.",
        "rule": "{values}: {option}",
        "nothing": "nothing",
        "option taken": "taken",
        "option left out": "left out",
        "order": "Ask for the steps in the order {option}.",
        "step taken": "Lead everybody to the optional step {place}.",
        "step left out": "Leave the optional step {place} out.",
        "count": "Lead everybody through {option} of the optional steps.",
        "arm": "Give the arm {option} to everybody.",
        "shape": "{number} steps: {steps}.",
        "between": "{least} to {most}",
        "shape plan": "Where no test has decided, they are as in the plan.",
        "shape usual": "Where no test has decided, they are in the order in which customers "
        "usually take them.",
        "shape open": "No test has decided whether {steps} should be among them.",
        "test": "Test it: {what}",
        "why": "Each time it is worth {gain} more than {than} ({low} to {high} at 95 %, for all "
        "proposals together). Found on {found_on} customers who began before {split}, measured on "
        "{reported_on} who began later, {had} of them with this choice.",
        "as now": "the present practice",
        "than": "always {option}",
        "chance": "Options were drawn by chance, with logged probabilities.",
        "not drawn": "Options were not drawn by chance: customers with this one may differ in "
        "ways that no column shows, so this is a difference and not yet an effect.",
        "adjusted for": "Differences in {columns} were removed.",
        "costs": "A message by {channel} costs {cost}.",
        "rival": "{option} may be as good: the difference is between {low} and {high}.",
        "limited": "It was possible for only about {share} of the customers.",
        "few": "Only {had} of the measured customers had it.",
        "one": "only one option was ever taken, so there is nothing to compare",
        "too few": "too few customers had any other option",
        "no better": "no option promised more than the present practice",
        "not held": "the best option on earlier customers is not certainly better on later ones",
        "none": "No recommendation: the data do not support any.",
        "no rows": "no prompt of it has been followed to its end",
        "a test": "only a test can decide: options were not drawn by chance",
    },
    "es": {
        "Tested": "Probado",
        "Adjusted": "Ajustado",
        "Observed only": "Solo observado",
        "say": "{place}: enviar {message} por {channel}, a todos.",
        "say nothing": "{place}: no enviar nada.",
        "by": "{place}: que decida {columns}: {rules}.",
        "rule": "{values}: {option}",
        "nothing": "nada",
        "option taken": "dado",
        "option left out": "omitido",
        "order": "Pedir los pasos en el orden {option}.",
        "step taken": "Llevar a todos al paso opcional {place}.",
        "step left out": "Omitir el paso opcional {place}.",
        "count": "Llevar a todos por {option} de los pasos opcionales.",
        "arm": "Dar la rama {option} a todos.",
        "shape": "{number} pasos: {steps}.",
        "between": "De {least} a {most}",
        "shape plan": "Donde ninguna prueba lo dijo, son los del plan.",
        "shape usual": "Donde ninguna prueba lo dijo, van en el orden en que los clientes suelen "
        "darlos.",
        "shape open": "Si {steps} debe estar entre ellos, ninguna prueba lo dijo.",
        "test": "Hacer una prueba: {what}",
        "why": "Cada vez vale {gain} más que {than} (de {low} a {high} al 95 %, para todas las "
        "propuestas juntas). Hallado en {found_on} clientes que empezaron antes del {split}, "
        "medido en {reported_on} que empezaron después, de los que {had} lo tuvieron.",
        "as now": "lo que se hace ahora",
        "than": "siempre {option}",
        "chance": "El azar eligió quién recibía qué, con probabilidades registradas.",
        "not drawn": "Nadie sorteó quién recibía qué: quienes lo tuvieron pueden ser distintos en "
        "algo que ninguna columna muestra; es una diferencia, aún no un efecto.",
        "adjusted for": "Se descontaron las diferencias de {columns}.",
        "costs": "Un mensaje por {channel} cuesta {cost}.",
        "rival": "{option} puede ser igual de bueno: la diferencia está entre {low} y {high}.",
        "limited": "Solo fue posible para cerca del {share} de los clientes.",
        "few": "Solo {had} de los clientes medidos lo tuvieron.",
        "one": "solo se tomó una opción, así que no hay con qué comparar",
        "too few": "muy pocos clientes tuvieron otra opción",
        "no better": "ninguna opción prometía más que lo que se hace ahora",
        "not held": "lo que parecía mejor en los primeros clientes no es seguro en los siguientes",
        "none": "Sin recomendación: los datos no la sostienen.",
        "no rows": "ningún mensaje se ha seguido hasta el final",
        "a test": "solo una prueba lo dirá: nadie sorteó quién recibía qué",
    },
}

_COMMAS: Final = str.maketrans(",.", ".,")


def words(language: Language, key: str, /, **parts: object) -> str:
    """Return the sentence with this key, its placeholders filled by `parts`."""
    return _WORDS[language][key].format(**parts)


def number(value: float, language: Language) -> str:
    """Return an amount in three digits, as the language writes it."""
    return _punctuate(f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}", language)


def count(value: int, language: Language) -> str:
    """Return a whole number as the language writes it."""
    return _punctuate(f"{value:,}", language)


def _punctuate(text: str, language: Language) -> str:
    return text.translate(_COMMAS) if language == "es" else text
