"""Channels and treatments that could not be delivered are refused before they are applied."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.config_files import load
from pipeline.config import model
from pipeline.config.smtp_urls import SmtpServer, SmtpUrlProblem, parse_smtp_url

_IDENTITY = "namespaces: [{name: email, normalise: email}]"
_SOURCES = "sources: [{name: shop, channel: web, write_key: shop-key-1}]"
_EMAIL = "from: Shop <hello@shop.example>"
_TREATMENT = "address: email, content: {subject: s, text: t}"


def _load_problems(
    folder: Path,
    email: str = _EMAIL,
    url: str = "smtps://mx.example",
    treatment: str = _TREATMENT,
    purpose: str = "transactional",
) -> list[str]:
    (folder / "campaigns").mkdir()
    (folder / "sources.yaml").write_text(_SOURCES)
    (folder / "identity.yaml").write_text(_IDENTITY)
    (folder / "channels.yaml").write_text(
        f"channels: [{{name: mail, adapter: email, url: '{url}', email: {{{email}}}}}]"
    )
    (folder / "campaigns" / "c.yaml").write_text(
        f"{{campaign: c, purpose: {purpose}, trigger: {{name: x}}, offers: [{{offer: o, value: 1, "
        f"treatments: [{{treatment: t, channel: mail, {treatment}}}]}}]}}"
    )
    result: Any = load(folder, {"SET": "smtps://mx.example:99"})
    return [] if isinstance(result, model.Bundle) else [str(error.message) for error in result]


def test_channel_and_treatment_that_fit_are_accepted(tmp_path: Path) -> None:
    assert _load_problems(tmp_path) == []


@pytest.mark.parametrize("url", ["${SET}", "${UNSET}", "smtp+starttls://mx.example:${PORT:-2}"])
def test_url_may_hold_variables(tmp_path: Path, url: str) -> None:
    assert _load_problems(tmp_path, url=url) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://mx.example"}, "smtp+starttls://"),
        ({"url": "smtps://u:p@mx.example"}, "belong in `email`"),
        ({"url": "smtp://mx.example", "email": _EMAIL + ", user: u, password: '${P}'"}, "in clear"),
        ({"email": "from: shop"}, "not an e-mail address"),
        ({"email": _EMAIL + ", user: u"}, "go together"),
        ({"email": _EMAIL + ", track: [opens]"}, "tracking needs `links`"),
        ({"email": _EMAIL + ", returned: mail/returned"}, "from /"),
        ({"email": _EMAIL + ", links: shop.example"}, "http"),
        ({"purpose": "marketing"}, "link to unsubscribe"),
        ({"treatment": "address: email, content: {subject: s, html: h}"}, "needs a 'text'"),
        ({"treatment": "content: {subject: s, text: t}"}, "`address`"),
    ],
)
def test_error_names_the_remedy(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    problems = _load_problems(tmp_path, **changes)
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mx.example", SmtpServer("mx.example", 25, "none")),
        ("smtp+starttls://mx.example", SmtpServer("mx.example", 587, "starttls")),
        ("smtps://[::1]:465", SmtpServer("::1", 465, "tls")),
    ],
)
def test_url_names_server_port_and_encryption(url: str, server: SmtpServer) -> None:
    assert parse_smtp_url(url) == server


@pytest.mark.parametrize("url", ["", "smtp://", "smtps://a:0x", "smtps://a/path", "smtps://a b"])
def test_url_of_no_server_is_refused(url: str) -> None:
    assert isinstance(parse_smtp_url(url), SmtpUrlProblem)
