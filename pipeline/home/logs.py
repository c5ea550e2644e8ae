"""Logging of the long-running processes: on standard error, as text or as JSON lines."""

import logging
import sys
from typing import Final

import structlog
from structlog.typing import Processor

from pipeline.settings import Settings

_CHATTY_LIBRARIES: Final = ("aiokafka", "asyncio", "faust", "httpcore", "httpx", "mode", "uvicorn")
"""Libraries whose records at level info are noise here."""


def configure(settings: Settings) -> None:
    """Configure logging of the process by KAIROS_LOG_LEVEL and KAIROS_LOG_FORMAT."""
    common_processors: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common_processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings),
            ],
        )
    )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    if settings.log_level != "debug":
        for name in _CHATTY_LIBRARIES:
            logging.getLogger(name).setLevel(logging.WARNING)


def _renderers(settings: Settings) -> tuple[Processor, ...]:
    if settings.log_format == "json":
        return structlog.processors.format_exc_info, structlog.processors.JSONRenderer()
    console = structlog.dev.ConsoleRenderer(
        pad_event_to=0,
        colors=sys.stderr.isatty(),
        exception_formatter=structlog.dev.plain_traceback,  # the default prints variables
    )
    return (console,)
