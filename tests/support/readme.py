"""Tables of commands, settings, topics and metrics in the documents, made from the code.

`python -m tests.support.readme` updates them; a test compares them with the code.
"""

import pkgutil
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import click
import typer
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

import agents
import pipeline
from agents.engine_metrics import EngineCollector
from pipeline.adapters.cleaning import FOREVER
from pipeline.cli.main import COMMANDS, build_app
from pipeline.gateway.metrics import Metrics
from pipeline.home.topics import Topic, topics_for
from pipeline.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
TABLES = {
    "commands": ROOT / "deploy" / "README.md",
    "settings": ROOT / "deploy" / "README.md",
    "metrics": ROOT / "deploy" / "README.md",
    "topics": ROOT / "schemas" / "README.md",
}
"""Document of each table."""

_EXTRAS = ("pyspark", "sqlglot")
"""Packages that need not be installed."""

_HIDDEN_OPTIONS = frozenset(("help", "install_completion", "show_completion"))


def metrics_document() -> str:
    """Return the document with the table of metrics."""
    return TABLES["metrics"].read_text()


def unknown_parts(line: str) -> list[str]:
    """Return the commands and options of a line `kairos …` that do not exist."""
    words = line.split()[1:]
    if words[0] not in COMMANDS:
        return words[:1]
    command = cast(Any, typer.main.get_command(build_app(words[0]))).commands[words[0]]
    for depth, word in enumerate(words[1:], 2):
        name = word.strip(".,;:")
        if not hasattr(command, "commands") or not re.fullmatch("[a-z][a-z-]*", name):
            break
        if name not in command.commands:
            return [" ".join([*words[: depth - 1], name])]
        command = command.commands[name]
    options = {
        opt for parameter in command.params for opt in (*parameter.opts, *parameter.secondary_opts)
    }
    return sorted({*re.findall(r"--[a-z-]+", line)} - options - {"--help"})


def text_with_tables(document: Path) -> str:
    """Return the text of `document` with its tables made from the code."""
    text = document.read_text()
    makers = {
        "commands": _commands,
        "settings": _settings,
        "topics": _topics,
        "metrics": _metrics,
    }
    for name in (name for name, place in TABLES.items() if place == document):
        before, marker, rest = text.partition(f"<!-- {name} -->\n")
        _, end_marker, after = rest.partition(f"<!-- /{name} -->")
        assert marker, f"{document} has no place for the table of {name}"
        assert end_marker, f"the table of {name} in {document} has no end"
        text = "".join([before, marker, *(f"{row}\n" for row in makers[name]()), end_marker, after])
    return text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _commands() -> Iterator[str]:
    rows = []
    for name in COMMANDS:
        root = cast(Any, typer.main.get_command(build_app(name)))
        rows += _rows(f"kairos {name}", root.commands[name])
    return _table(("command", "does"), rows)


def _rows(path: str, command: Any) -> Iterator[tuple[str, str]]:
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from _rows(f"{path} {name}", child)
        return
    words = [path]
    for parameter in command.params:
        if parameter.name in _HIDDEN_OPTIONS:
            continue
        words.append(_written_form(parameter))
    summary = (command.help or "").strip().split("\n\n")[0]
    yield f"`{' '.join(words)}`", " ".join(summary.split())


def _written_form(parameter: click.Parameter) -> str:
    kind = cast(Any, parameter)
    if kind.param_type_name == "argument":
        name = (kind.metavar or kind.name).strip("{}[]").upper()
        return name if kind.required else f"[{name}]"
    flag = max(kind.opts, key=len)
    metavar = kind.metavar or flag.removeprefix("--").replace("-", "_")
    value = "" if kind.is_flag else f" {metavar.upper()}"
    return f"{flag}{value}" if kind.required else f"[{flag}{value}]"


def _settings() -> Iterator[str]:
    rows = []
    for name, field in Settings.model_fields.items():
        variable = "KAFKA_*" if name == "kafka_properties" else name.upper()
        has_default = field.default_factory is None and field.default is not None
        default = f"`{field.default}`" if has_default else ""
        rows.append((f"`{PREFIX}{variable}`", default, str(field.description)))
    return _table(("variable", "default", "meaning"), rows)


def _topics() -> Iterator[str]:
    rows = [
        (f"`{topic.name}`", topic.partitioning.value, _retention(topic))
        for topic in topics_for(["CHANNEL"])
    ]
    return _table(("topic", "keyed by", "kept"), rows)


def _retention(topic: Topic) -> str:
    if topic.retention_h is None:
        return "the latest of each key"
    if topic.retention_h == FOREVER:
        return "for ever"
    days = topic.retention_h / 24
    return f"{days:.0f} days" if days >= 1 else f"{topic.retention_h:.0f} h"


def _metrics() -> Iterator[str]:
    rows = {
        row
        for collector in _collectors()
        for row in _describe(collector)
        if row[0].startswith("`kairos_")
    }
    return _table(("metric", "labels", "meaning"), sorted(rows))


def _collectors() -> Iterator[Any]:
    """Yield the collectors that modules register, and those that programs make at their start."""
    for package in (pipeline, agents):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                _import(module.name)
    yield from REGISTRY._collector_to_names
    yield from Metrics()._registry._collector_to_names
    yield EngineCollector()


def _import(module: str) -> None:
    """Import a module, unless it is of an extra that is not installed."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRAS:
            raise


def _describe(collector: Any) -> Iterator[tuple[str, str, str]]:
    is_metric = isinstance(collector, MetricWrapperBase)
    for family in collector.describe() if is_metric else collector.collect():
        labels = collector._labelnames if is_metric else getattr(family, "_labelnames", ())
        name = family.name + ("_total" if family.type == "counter" else "")
        yield f"`{name}`", ", ".join(f"`{label}`" for label in labels), family.documentation


if __name__ == "__main__":
    for place in set(TABLES.values()):
        place.write_text(text_with_tables(place))
