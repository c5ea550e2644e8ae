"""Folders of configuration with one mistake."""

from pathlib import Path

from pipeline.adapters.config_files import ConfigError, load


def load_after_change(folder: Path, file: str, old: str, new: str) -> tuple[list[ConfigError], int]:
    """Replace `old` in a file; return the errors of the folder, and the line of the change."""
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    errors = load(folder, {})
    assert isinstance(errors, list)
    return errors, text[: text.index(old)].count("\n") + 1
