"""Page of the report: one HTML file with its data, script and style, which loads nothing.

Names come from customers' events, so an attacker may choose them. They are only data: in a block of
JSON that no text in it can end, read into text nodes. As a second defence, the page's policy allows
only its own scripts, by their digests, and no requests.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec
from jinja2 import Environment
from markupsafe import Markup

from pipeline.insights.report.content import ReportContent

_PACKAGE: Final = "pipeline.insights.report"
_LIBRARY: Final = ("plotly", "package_data/plotly.min.js")
_ESCAPES: Final = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029'"}


def report_page(content: ReportContent, made_at: str) -> str:
    """Return the page as HTML; `made_at`: time of the report, as displayed."""
    texts: Mapping[str, Any] = json.loads(_asset("texts.json"))[content.language]
    data = {"content": msgspec.to_builtins(content), "texts": texts, "made_at": made_at}
    library, script = _resource(*_LIBRARY), _asset("report.js")
    policy = (
        "default-src 'none'; "
        f"script-src {_digest(library)} {_digest(script)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .from_string(_asset("page.html"))
        .render(
            language=content.language,
            texts=texts,
            policy=policy,
            style=Markup(_asset("report.css")),
            library=Markup(library),
            script=Markup(script),
            data=Markup(embedded_json(data)),
        )
    )


def embedded_json(value: Any) -> str:
    """Return JSON that can neither end a script element nor begin a comment in HTML."""
    return msgspec.json.encode(value).decode().translate(_ESCAPES)


@cache
def _environment() -> Environment:
    return Environment(autoescape=True)


def _asset(name: str) -> str:
    return _resource(_PACKAGE, name)


def _resource(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text("utf-8")


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
