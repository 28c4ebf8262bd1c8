"""Durations and times as documents spell them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

Duration = Annotated[str, Field(pattern=r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", min_length=2, max_length=20)]
"""A duration such as 30s, 5m or 1h30m."""
_PARTS = re.compile(r"^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$")


def seconds(duration: str) -> int:
    """`1h30m` → 5400. Raises ValueError on anything else than hours, minutes and seconds in that order."""
    match = _PARTS.match(duration)
    if not match or not duration:
        raise ValueError(f"{duration!r} is not a duration such as 30s, 5m or 1h30m")
    h, m, s = (int(g or 0) for g in match.groups())
    return h * 3600 + m * 60 + s


def format_time(moment: datetime) -> str:
    """RFC 3339, UTC, seconds: 2013-04-01T00:00:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The moment that `format_time` (or the API server) wrote. Raises ValueError on anything else."""
    return datetime.fromisoformat(text)
