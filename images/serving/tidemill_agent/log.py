"""Structured logs: one JSON object a line on standard error, and nothing secret in it."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson


class _JsonFormatter(logging.Formatter):
    """Puts `extra={"fields": {...}}` beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


LOGGER = logging.getLogger("tidemill_agent")


def setup() -> None:
    """Send everything to standard error; libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOGGER.setLevel(logging.INFO)


def info(message: str, **fields: object) -> None:
    """One line of the pod's story."""
    LOGGER.info(message, extra={"fields": fields})


def warn(message: str, **fields: object) -> None:
    """Something is wrong that the agent can live with."""
    LOGGER.warning(message, extra={"fields": fields})


def error(message: str, **fields: object) -> None:
    """An error nobody expected, with its traceback: a defect of the agent."""
    LOGGER.error(message, extra={"fields": fields}, exc_info=True)
