"""Sources that an option of a command names."""

from pipeline.cli.console import fail
from pipeline.config.compile import Configuration
from pipeline.config.model import Source


def named_source(configuration: Configuration, name: str | None) -> Source | None:
    """Return the source `name`; None without a name. Ends the command if there is no such
    source."""
    if name is None:
        return None
    sources = {source.name: source for source in configuration.sources.values()}
    if name not in sources:
        fail(f"sources.yaml has no source {name!r}; it has {', '.join(sorted(sources))}")
    return sources[name]
