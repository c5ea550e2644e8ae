"""Environment of running processes, compared with that of a command."""

import os
from collections.abc import Iterable, Mapping

import psutil

from pipeline.adapters.private_files import STACK_VARIABLE
from pipeline.config.keys import variable_names
from pipeline.config.model import Bundle
from pipeline.settings import PREFIX

_PLAN_VARIABLES = frozenset(
    (STACK_VARIABLE, "KAIROS_HOME", "KAIROS_PARTITIONS", "KAIROS_WORKERS", "KAIROS_GATEWAY_PORT")
)
"""Variables that the start of a stack sets itself, or whose change a running stack adopts."""


def outdated_variables(process: psutil.Process, bundle: Bundle) -> tuple[str, ...]:
    """Return the names, sorted, of settings and of variables in the configuration whose values in
    this command differ from those that `process` started with.

    Empty where the system does not show the environment of `process`.
    """
    try:
        start_environment = process.environ()
    except psutil.Error:
        return ()
    names = {*_settings(start_environment), *_settings(os.environ), *variable_names(bundle)}
    return tuple(
        sorted(name for name in names if start_environment.get(name) != os.environ.get(name))
    )


def _settings(environment: Mapping[str, str]) -> Iterable[str]:
    return (name for name in environment if name.startswith(PREFIX) and name not in _PLAN_VARIABLES)
