"""Templates of content: Jinja, sandboxed, and compiled once per text.

A template reads names (`{{ views }}`, `{{ properties.category }}`, `{{ context.locale }}`) and
nothing else: each name is replaced by a variable before the template is compiled, so that its needs
are known when it is loaded, and it cannot reach attributes of any object. Calls, nested loops and
filters with unbounded output are refused, and the length of the output is limited, so that
rendering is short for any data.

A text without Jinja's signs may hold `{views}` and `{properties.category}` instead.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from html import escape
from typing import Any, Final, TypeAlias

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.config.template_names import FILTERS, TESTS, RefusedError, Resolver
from pipeline.config.zones import zone
from pipeline.model.interaction import FactValue

PROPERTY: Final = "properties."
CONTEXT: Final = "context."
ITEM: Final = "item."
MAX_CHARACTERS: Final = 20_000
"""Maximum of characters in one rendered part."""

_CACHE_SIZE: Final = 4_096
_SIGNS: Final = re.compile(r"\{\{|\{%|\{#")
_NAME: Final = re.compile(r"\{([A-Za-z][A-Za-z0-9_.-]*)\}")
_FOREIGN_NAME: Final = re.compile(
    r"%%=?\s*(?:v\(@)?(\w[\w .]*?)\)?\s*=?%%|\*\|(\w+)\|\*|\{!(?:\w+\.)?(\w+)\}|<<\s*(\w+)\s*>>"
)
"""Names as other tools write them: `%%name%%`, `*|NAME|*`, `{!Contact.Name}`, `<<name>>`."""

_TYPOGRAPHIC_QUOTES: Final = re.compile("[“”„‘’]")
_REMEDIES: Final = {
    "unexpected char": "write straight quotation marks inside {{ }} and {% %}",
    "": "a name is written {{ first_name }}, a choice {% if tier == 'gold' %}...{% endif %}",
}
_DATE_FORMAT: Final = re.compile(r"(%[dmYyHMjB%]|[^%])*")
_DAY: Final = "%Y-%m-%d"


class RenderError(Exception):
    """Raised when a template fails with a customer's values."""


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """Reason why a text is not a template."""

    message: str


@dataclass(frozen=True, slots=True)
class PlainTemplate:
    """Template of alternating literal texts and names, beginning with a text."""

    parts: tuple[str, ...]
    escapes_html: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Every name once, in order."""
        return tuple(dict.fromkeys(self.parts[1::2]))

    @property
    def needs(self) -> tuple[str, ...]:
        """Names that must be known: all."""
        return self.names

    def render(self, values: Mapping[str, FactValue]) -> str:
        """Render the text with `values` by name. Raises RenderError when that fails."""
        texts = list(self.parts)
        for index in range(1, len(texts), 2):
            value = values.get(texts[index])
            text = "" if value is None else format_value(value)
            texts[index] = escape(text) if self.escapes_html else text
        return "".join(_limit(texts))


@dataclass(frozen=True, slots=True)
class JinjaTemplate:
    """Jinja template; `reads`: every name with its variable; `needs`: names that must be known."""

    reads: Mapping[str, str]
    needs: tuple[str, ...]
    jinja_template: jinja2.Template

    @property
    def names(self) -> tuple[str, ...]:
        """Every name once, in order."""
        return tuple(self.reads)

    def render(self, values: Mapping[str, FactValue]) -> str:
        """Render the text with `values` by name. Raises RenderError when that fails."""
        variables = {
            variable: values[name]
            for name, variable in self.reads.items()
            if values.get(name) is not None
        }
        try:
            context = self.jinja_template.new_context(variables)
            return "".join(_limit(self.jinja_template.root_render_func(context)))
        except RenderError:
            raise
        except Exception as error:
            raise RenderError(f"{type(error).__name__}: {error}") from error


Template: TypeAlias = PlainTemplate | JinjaTemplate


@lru_cache(maxsize=_CACHE_SIZE)
def template(text: str, escapes_html: bool) -> Template | TemplateProblem:
    """Compile a text; `escapes_html`: whether values are escaped as HTML."""
    if not _SIGNS.search(text):
        return PlainTemplate(tuple(_NAME.split(text)), escapes_html)
    environment = _HTML_ENVIRONMENT if escapes_html else _PLAIN_ENVIRONMENT
    resolver = Resolver()
    try:
        tree = resolver.visit(environment.parse(text))
        code = environment.compile(tree)
    except RefusedError as refusal:
        return TemplateProblem(str(refusal))
    except (jinja2.TemplateError, RecursionError, SyntaxError, MemoryError) as error:
        return TemplateProblem(
            f"not a template: {error or type(error).__name__}: {_remedy(text, error)}"
        )
    jinja_template = jinja2.Template.from_code(environment, code, {})
    return JinjaTemplate(resolver.reads, tuple(resolver.needs), jinja_template)


def foreign_name_fault(text: str) -> str | None:
    """Return the fault of a name in the form of another tool; None without one."""
    match = _FOREIGN_NAME.search(text)
    if match is None:
        return None
    name = next(group for group in match.groups() if group is not None)
    return f"{match[0][:60]!r} would be sent as it is: a name is written {{{name.strip()}}}"


def _remedy(text: str, error: BaseException) -> str:
    has_typographic_quotes = "unexpected char" in str(error) and _TYPOGRAPHIC_QUOTES.search(text)
    return _REMEDIES["unexpected char" if has_typographic_quotes else ""]


def _limit(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts. Raises RenderError where they are too long together."""
    length = 0
    for text in texts:
        length += len(text)
        if length > MAX_CHARACTERS:
            raise RenderError(f"longer than {MAX_CHARACTERS:,} characters")
        yield text


def format_value(value: FactValue) -> str:
    """Format a value for customers: lists with commas, whole numbers without a fraction."""
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.10g}"
    return str(value)


def _date(time_ms: object, form: str = _DAY, where: str = "UTC") -> str:
    """Format a time (epoch ms) in a zone, as the filter `date`."""
    if isinstance(time_ms, bool) or not isinstance(time_ms, int | float):
        raise RenderError("date: this is not a time")
    if not _DATE_FORMAT.fullmatch(form):
        raise RenderError("date: only %d %m %Y %y %H %M %j %B are known")
    return datetime.fromtimestamp(time_ms / 1000, zone(where) or UTC).strftime(form)


def _number(value: object, decimals: int = 0) -> str:
    """Format a number with a fixed number of decimals, as the filter `number`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RenderError("number: this is not a number")
    return f"{value:.{min(max(decimals, 0), 10)}f}"


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, without constructs of unbounded output."""

    intercepted_binops = frozenset(("*", "%"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse multiplication and formatting of texts, whose results can be of any length."""
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise SecurityError(f"{operator} is for numbers")
        return super().call_binop(context, operator, left, right)


def _environment(escapes_html: bool) -> _Environment:
    environment = _Environment(
        autoescape=escapes_html, finalize=_finalize, keep_trailing_newline=True
    )
    environment.filters = {
        name: environment.filters[name] for name in FILTERS if name in environment.filters
    }
    environment.filters.update(date=_date, number=_number)
    environment.tests = {name: environment.tests[name] for name in TESTS}
    environment.globals = {}
    return environment


def _finalize(value: Any) -> Any:
    return format_value(value) if isinstance(value, tuple | float) else value


_HTML_ENVIRONMENT: Final = _environment(escapes_html=True)
_PLAIN_ENVIRONMENT: Final = _environment(escapes_html=False)
