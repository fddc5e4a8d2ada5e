"""Logs: structlog to stderr, for people on a terminal and JSON elsewhere; stdout belongs to results."""

from __future__ import annotations

import logging
import sys

import structlog

from governor.settings import LogSettings


def configure(settings: LogSettings) -> None:
    """Set up structlog for this process."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[settings.level.upper()]
        ),
        # sys.stderr is looked up at each line, so that tests and redirections are honoured.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # The scheduler says in words at INFO what our metrics count; its errors reach us through the listener.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
