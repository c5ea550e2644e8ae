"""Loader of a journey's YAML file: the journey, or errors with file, line, column and remedy."""

from pathlib import Path

import msgspec

from pipeline.adapters.config_files import ConfigError, load_file, locate_problem
from pipeline.config.journey_checks import journey_problems
from pipeline.config.model.journeys import Journey
from pipeline.config.schema import JOURNEY


def load_journey(path: Path) -> Journey | list[ConfigError]:
    """Return the journey in the file, or every error found in it."""
    file = load_file(path, JOURNEY)
    if isinstance(file, list):
        return sorted(file, key=lambda error: (error.line, error.column, error.message))
    journey = msgspec.convert(file.document.value, Journey)
    problems = [locate_problem(file, problem) for problem in journey_problems(journey)]
    return sorted(set(problems), key=lambda error: (error.line, error.column)) or journey
