"""Sentences of an explanation, in each language."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

Language: TypeAlias = Literal["en", "es"]

PHRASES: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "nothing asked": "No answer was requested and no trigger fired, so nothing was decided.",
        "again": "This decides again on the messages that quiet hours held back at {since} "
        "(decision {first}).",
        "deferred": "{slot}: {treatment} waits for the end of quiet hours, at {until}, when it is "
        "decided again; it is worth sending until {deadline}.",
        "outcome": "This records the outcome of a message; it sends nothing.",
        "chosen": "{slot}: {treatment} (offer {offer}, campaign {campaign}) on {channel}, "
        "score {score} = {sum}.",
        "transactional": "It is transactional, so it competes with nothing else.",
        "explored": "It was drawn uniformly from all that could pay, to learn (propensity "
        "{propensity}).",
        "drawn": "Its p was drawn from the learned evidence (propensity {propensity}).",
        "learned": "tried {tried} times, which weigh {trials} by age; successes weigh {successes}",
        "runner-up": "The next best, {treatment}, scores {score}.",
        "nothing": "{slot}: no message is chosen.",
        "nothing pays": "The best candidate, {treatment}, scores {score} = {sum}; a score that is "
        "not positive loses to sending nothing.",
        "instead": "{winner} is chosen instead.",
        "nothing left": "No candidate was left to compete.",
        "held": "{slot}: no message is chosen, since the customer is held out by {holdout}; it "
        "would have been {treatment}.",
        "held instead": "{slot}: {treatment} would have won, but the customer is held out of it by "
        "{holdout}; the best of the rest is chosen.",
        "rejected": "Not {treatment}: {words}",
        "more rejected": "Rules reject {count} more.",
        "flip": "The smallest change that flips it: {what} from {start} to {end}.",
        "p alone": "its p alone",
        "arm chance": "Impact test `chance`: all treatments that the engagement policy admits are "
        "equally likely, whatever their value.",
        "arm propensity": "Impact test `propensity`: the probability of the goal decides, not its "
        "value.",
        "arm no-levers": "Impact test `no-levers`: levers and context weights are ignored.",
        "arm eligibility": "Impact test `eligibility`: rules of applicability and suitability are "
        "skipped.",
        "sum": "({p} × {value} − {cost}) × {weight}",
        "dear sum": "({p} × {value} − {cost}) × {weight} − {price} × {cost}",
        "value of": "value of {treatment}",
        "p of": "p of {treatment}",
        "cost of": "cost of {treatment}",
        "worth": "expected to bring {amount} ({p} of {value})",
        "cheap": "costs nothing",
        "raised": "counts {weight} times in this context and by its levers",
        "best": "the best of those that no constraint holds back",
        "costs": "costs {cost}",
        "dear": "each unit of cost counts {price} more, since the campaign's budget would run out "
        "early",
        "unlikely": "the goal is reached in {p} of cases",
        "anyway": "without it in {anyway}, so it adds {p}",
        "lowered": "counts only {weight} times in this context and by its levers",
        "beaten": "scores {gap} less than {winner}",
        "worth nothing": "does not pay",
        "another channel": "{winner} already represents the campaign, or uses the channel",
        "campaign not begun": "the campaign has not begun.",
        "campaign over": "the campaign is over.",
        "treatment not begun": "its dates have not begun.",
        "treatment over": "its dates are over.",
        "deadline passed": "its deadline passed while it waited.",
        "trigger": "this interaction does not trigger the campaign.",
        "interaction too old": "the interaction was too old on arrival to trigger a message.",
        "audience": "the customer is not in the campaign's audience.",
        "offer condition": "the offer's own condition does not hold.",
        "item not valid now": "their dates have not begun, or are over.",
        "not among": "they are not among those that suit the customer.",
        "excluded": "the customer has seen, bought or solved them.",
        "beyond the best": "there are enough that are worth more.",
        "no address": "no {name} is known to reach the customer.",
        "address of another": "the {name} that is known belongs to somebody else.",
        "content needs": "its content needs {name}, which is not known.",
        "rule": "the rule {name} does not hold.",
        "consent": "the customer has not agreed to it ({name}).",
        "suppression": "{name} silences it for a time.",
        "quiet hours": "these are quiet hours where the customer is ({name}).",
        "cap": "the customer has had as many messages as {name} allows.",
        "budget": "nothing is left to spend of {name} at the moment.",
        "out of stock": "they are out of stock.",
        "content": "its content cannot be rendered: {name}.",
        "held out by": "the customer is held out by {name}.",
        "in force": "in force",
        "lifted": "lifted",
        "rerun same": "Run again, the decision is the same.",
        "rerun other": "Run again, the decision is different.",
    },
    "es": {
        "nothing asked": "No se pidió respuesta y no saltó ningún disparador, así que no se "
        "decidió nada.",
        "again": "Esto vuelve a decidir lo que las horas de silencio retuvieron el {since} "
        "(decisión {first}).",
        "deferred": "{slot}: {treatment} espera al final de las horas de silencio, el {until}, y "
        "se decidirá de nuevo; vale la pena enviarlo hasta el {deadline}.",
        "outcome": "Esto registra el resultado de un mensaje; no envía nada.",
        "chosen": "{slot}: {treatment} (oferta {offer}, campaña {campaign}) por {channel}, "
        "puntuación {score} = {sum}.",
        "transactional": "Es transaccional, así que no compite con nada más.",
        "explored": "Se sorteó por igual entre todo lo que podía compensar, para aprender "
        "(propensión {propensity}).",
        "drawn": "Su p se sorteó según lo aprendido (propensión {propensity}).",
        "learned": "probado {tried} veces, que por su antigüedad pesan {trials}; los éxitos "
        "pesan {successes}",
        "runner-up": "El siguiente mejor, {treatment}, puntúa {score}.",
        "nothing": "{slot}: no se elige ningún mensaje.",
        "nothing pays": "El mejor candidato, {treatment}, puntúa {score} = {sum}, y lo que no es "
        "positivo pierde frente a no enviar nada.",
        "instead": "En su lugar se elige {winner}.",
        "nothing left": "No quedó ningún candidato para competir.",
        "held": "{slot}: no se elige ningún mensaje, porque el cliente está en el grupo de control "
        "{holdout}; habría sido {treatment}.",
        "held instead": "{slot}: habría ganado {treatment}, pero el cliente está en su grupo de "
        "control {holdout}; se elige lo mejor del resto.",
        "rejected": "No {treatment}: {words}",
        "more rejected": "Y {count} más que las reglas rechazan.",
        "flip": "El menor cambio que lo invierte: {what} de {start} a {end}.",
        "p alone": "su p sola",
        "arm chance": "Prueba de impacto `chance`: todo lo que pasa las reglas es igual de "
        "probable, valga lo que valga.",
        "arm propensity": "Prueba de impacto `propensity`: decide la probabilidad de los "
        "objetivos, no lo que valen.",
        "arm no-levers": "Prueba de impacto `no-levers`: las palancas y los pesos del contexto no "
        "cuentan.",
        "arm eligibility": "Prueba de impacto `eligibility`: no se aplican las reglas de "
        "aplicabilidad e idoneidad.",
        "sum": "({p} × {value} − {cost}) × {weight}",
        "dear sum": "({p} × {value} − {cost}) × {weight} − {price} × {cost}",
        "value of": "valor de {treatment}",
        "p of": "p de {treatment}",
        "cost of": "coste de {treatment}",
        "worth": "se espera que aporte {amount} ({p} de {value})",
        "cheap": "no cuesta nada",
        "raised": "cuenta {weight} veces en este contexto y por sus palancas",
        "best": "el mejor de los que nada impide",
        "costs": "cuesta {cost}",
        "dear": "cada unidad de coste cuenta {price} más, pues el presupuesto de la campaña se "
        "agotaría antes de tiempo",
        "unlikely": "el objetivo se alcanza en {p} de los casos",
        "anyway": "sin él en {anyway}, así que añade {p}",
        "lowered": "cuenta solo {weight} veces en este contexto y por sus palancas",
        "beaten": "puntúa {gap} menos que {winner}",
        "worth nothing": "no compensa",
        "another channel": "{winner} ya representa a la campaña o usa el canal",
        "campaign not begun": "la campaña no ha empezado.",
        "campaign over": "la campaña ha terminado.",
        "treatment not begun": "sus fechas no han empezado.",
        "treatment over": "sus fechas han terminado.",
        "deadline passed": "esperó hasta que ya no valía la pena enviarlo.",
        "trigger": "esta interacción no dispara la campaña.",
        "interaction too old": "la interacción llegó demasiado tarde para disparar un mensaje.",
        "audience": "el cliente no está en la audiencia de la campaña.",
        "offer condition": "no se cumple la condición de la propia oferta.",
        "item not valid now": "sus fechas no han empezado o han terminado.",
        "not among": "no están entre los que convienen al cliente.",
        "excluded": "el cliente ya los ha visto, comprado o resuelto.",
        "beyond the best": "hay bastantes que valen más.",
        "no address": "no se conoce {name} para llegar al cliente.",
        "address of another": "el {name} que se conoce es de otra persona.",
        "content needs": "su contenido necesita {name}, que no se conoce.",
        "rule": "no se cumple la regla {name}.",
        "consent": "el cliente no lo ha consentido ({name}).",
        "suppression": "{name} lo silencia durante un tiempo.",
        "quiet hours": "son horas de silencio donde está el cliente ({name}).",
        "cap": "el cliente recibió tantos mensajes como permite {name}.",
        "budget": "no queda nada por gastar de {name} en este momento.",
        "out of stock": "no quedan existencias.",
        "content": "su contenido no se puede componer: {name}.",
        "held out by": "el cliente está en el grupo de control {name}.",
        "in force": "en vigor",
        "lifted": "levantada",
        "rerun same": "Ejecutada otra vez, la decisión es la misma.",
        "rerun other": "Ejecutada otra vez, la decisión es otra.",
    },
}


_DECIMAL: Final[Mapping[Language, str]] = {"en": ".", "es": ","}


def number(language: Language, value: float) -> str:
    """Return a figure with six digits, and the language's decimal sign."""
    text = f"{value:.2f}" if value == round(value, 2) and value % 1 else f"{value:.6g}"
    return text.replace(".", _DECIMAL[language])


def phrase(language: Language, key: str, /, **parts: object) -> str:
    """Return the sentence of `key`, with figures and names filled in."""
    texts = {
        name: number(language, part) if isinstance(part, float) else part
        for name, part in parts.items()
    }
    return PHRASES[language][key].format_map(texts)
