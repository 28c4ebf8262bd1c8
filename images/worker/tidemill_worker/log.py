"""Structured logs: one JSON object a line on standard error, and nothing secret in it."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime


def now() -> str:
    """The time, RFC 3339, UTC, seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _JsonFormatter(logging.Formatter):
    """Puts `extra={"fields": {...}}` beside the message, and of several processes which one speaks."""

    def __init__(self) -> None:
        super().__init__()
        rank = os.environ.get("RANK")
        self._always: dict[str, object] = {} if rank is None else {"rank": int(rank)}

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._always,
        }
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def setup() -> None:
    """Send everything to standard error; libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("tidemill_worker").setLevel(logging.INFO)


LOGGER = logging.getLogger("tidemill_worker")


def info(message: str, **fields: object) -> None:
    """One line of the task's story."""
    LOGGER.info(message, extra={"fields": fields})


def warn(message: str, **fields: object) -> None:
    """Something odd that the task can live with."""
    LOGGER.warning(message, extra={"fields": fields})
