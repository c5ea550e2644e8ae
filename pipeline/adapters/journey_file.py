"""Loader of a journey's YAML file: the journey, or errors that name file, line, column and mend."""

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
        return sorted(file, key=lambda one: (one.line, one.column, one.message))
    journey = msgspec.convert(file.document.value, Journey)
    problems = [locate_problem(file, problem) for problem in journey_problems(journey)]
    return sorted(set(problems), key=lambda one: (one.line, one.column)) or journey
