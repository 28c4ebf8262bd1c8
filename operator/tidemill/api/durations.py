"""Durations and times as the API spells them: as all documents do."""

from __future__ import annotations

from tidemill.contract.durations import format_time, parse_time, seconds

__all__ = ["format_time", "parse_time", "seconds"]
