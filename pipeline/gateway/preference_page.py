"""Page of preferences in English and Spanish, without scripts."""

from base64 import b64encode
from hashlib import sha256
from typing import Final, Literal, TypeAlias

import jinja2
from msgspec import Struct
from starlette.responses import HTMLResponse, Response

PageLanguage: TypeAlias = Literal["en", "es"]
Choice: TypeAlias = Literal["stop", "stop-all", "resume"]


class _Words(Struct, frozen=True):
    """Texts of one language; `{purpose}` and `{channel}` are replaced."""

    title: str
    question: str
    stop: str
    stop_all: str
    resume: str
    save: str
    note: str
    saved_note: str
    change: str
    bad_link: str
    unavailable: str
    other_language: str
    purposes: dict[str, str]
    channels: dict[str, str]


_WORDS: Final[dict[PageLanguage, _Words]] = {
    "en": _Words(
        title="Your messages",
        question="What would you like?",
        stop="No more {purpose} {channel}",
        stop_all="No more {purpose} at all, in any way",
        resume="Send me {purpose} {channel}",
        save="Save",
        note="What you asked for yourself, such as the confirmation of an order, still comes.",
        saved_note="Saved.",
        change="Change it again",
        bad_link="This link is not complete. Open it again from the message.",
        unavailable="That could not be saved just now. Please try again in a minute.",
        other_language="Español",
        purposes={
            "marketing": "offers",
            "service": "service messages",
            "transactional": "messages",
        },
        channels={
            "email": "by e-mail",
            "sms": "by text message",
            "push": "as notifications",
            "call": "by telephone",
            "web": "on the website",
            "whatsapp": "by WhatsApp",
        },
    ),
    "es": _Words(
        title="Tus mensajes",
        question="¿Qué prefieres?",
        stop="No recibir más {purpose} {channel}",
        stop_all="No recibir más {purpose} por ningún medio",
        resume="Recibir {purpose} {channel}",
        save="Guardar",
        note="Lo que tú pides, como la confirmación de un pedido, te sigue llegando.",
        saved_note="Guardado.",
        change="Cambiarlo otra vez",
        bad_link="Este enlace no está completo. Ábrelo de nuevo desde el mensaje.",
        unavailable="Ahora no se ha podido guardar. Inténtalo de nuevo dentro de un minuto.",
        other_language="English",
        purposes={"marketing": "ofertas", "service": "avisos", "transactional": "mensajes"},
        channels={
            "email": "por correo electrónico",
            "sms": "por SMS",
            "push": "como notificaciones",
            "call": "por teléfono",
            "web": "en la web",
            "whatsapp": "por WhatsApp",
        },
    ),
}
_OTHER_LANGUAGE: Final[dict[PageLanguage, PageLanguage]] = {"en": "es", "es": "en"}

_STYLE: Final = (
    "body{font:18px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#f5f5f3;margin:0}"
    "main{max-width:30rem;margin:8vh auto;padding:2rem;background:#fff;border-radius:.5rem}"
    "h1{font-size:1.5rem;margin-top:0}fieldset{border:0;margin:0 0 1.5rem;padding:0}"
    "legend{padding:0 0 .5rem;font-weight:600}label{display:block;padding:.4rem 0}"
    "input{margin:0 .6rem 0 0}button{font:inherit;padding:.6rem 1.6rem;border:0;"
    "border-radius:.3rem;background:#14532d;color:#fff;cursor:pointer}"
    "a{color:#14532d}small{color:#595959}:focus-visible{outline:3px solid #c2410c}"
)
_PAGE: Final = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
    """<!doctype html>
<html lang="{{ language }}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{ words.title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<main>
<h1>{{ words.title }}</h1>
{% if notice %}<p role="status">{{ notice }}</p>
{% endif %}{% if choices %}<form method="post" action="?t={{ token }}&amp;lang={{ language }}">
<fieldset>
<legend>{{ words.question }}</legend>
{% for value, label in choices %}<label><input type="radio" name="choice" value="{{ value }}"\
{% if loop.first %} checked{% endif %}>{{ label }}</label>
{% endfor %}</fieldset>
<button>{{ words.save }}</button>
</form>
<p><small>{{ words.note }}</small></p>
{% endif %}{% if has_change_link %}<p>\
<a href="?t={{ token }}&amp;lang={{ language }}">{{ words.change }}</a></p>
{% endif %}{% if token %}<p><small>\
<a href="?t={{ token }}&amp;lang={{ other_language }}"\
 hreflang="{{ other_language }}" lang="{{ other_language }}">\
{{ words.other_language }}</a></small></p>
{% endif %}</main>
</body>
</html>
"""
)
_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageSubject(Struct, frozen=True):
    """Messages of a page; `token` is the signed link in its URL."""

    token: str
    channel: str
    purpose: str


def preferred_language(query_language: str | None, accept_language: str | None) -> PageLanguage:
    """Return the language of the query, else the one the browser prefers, else English.

    `accept_language`: the header Accept-Language.
    """
    if query_language in _WORDS:
        return query_language
    candidates = [
        (_weight(weight), language)
        for tag, _, weight in (
            entry.partition(";q=") for entry in (accept_language or "").split(",")
        )
        for language in _WORDS
        if language == tag.strip().lower().partition("-")[0]
    ]
    return max(candidates, key=lambda pair: pair[0])[1] if candidates else "en"


def question_page(subject: PageSubject, language: PageLanguage) -> Response:
    """Return the page with the question, which changes nothing."""
    labels = _labels(subject, language)
    return _page(language, subject.token, choices=tuple(labels.items()))


def saved_page(subject: PageSubject, language: PageLanguage, choice: Choice) -> Response:
    """Return the page after a choice."""
    notice = f"{_WORDS[language].saved_note} {_labels(subject, language)[choice]}."
    return _page(language, subject.token, notice=notice, has_change_link=True)


def bad_link_page(language: PageLanguage) -> Response:
    return _page(language, "", notice=_WORDS[language].bad_link, status=400)


def unavailable_page(subject: PageSubject, language: PageLanguage) -> Response:
    """Return the page for a choice that Kafka did not acknowledge."""
    response = _page(
        language,
        subject.token,
        notice=_WORDS[language].unavailable,
        has_change_link=True,
        status=503,
    )
    response.headers["Retry-After"] = "60"
    return response


def _labels(subject: PageSubject, language: PageLanguage) -> dict[Choice, str]:
    words = _WORDS[language]
    purpose = words.purposes[subject.purpose]
    channel = words.channels.get(subject.channel, f"({subject.channel})")
    return {
        "stop": words.stop.format(purpose=purpose, channel=channel),
        "stop-all": words.stop_all.format(purpose=purpose),
        "resume": words.resume.format(purpose=purpose, channel=channel),
    }


def _page(
    language: PageLanguage,
    token: str,
    *,
    choices: tuple[tuple[Choice, str], ...] = (),
    notice: str = "",
    has_change_link: bool = False,
    status: int = 200,
) -> Response:
    text = _PAGE.render(
        language=language,
        other_language=_OTHER_LANGUAGE[language],
        words=_WORDS[language],
        style=_STYLE,
        token=token,
        choices=choices,
        notice=notice,
        has_change_link=has_change_link,
    )
    return HTMLResponse(text, status, headers=dict(_HEADERS))


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
