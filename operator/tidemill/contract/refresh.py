"""When a new version of a dataset is prepared although its spec is the same."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from tidemill.contract.base import Document
from tidemill.contract.durations import Duration
from tidemill.contract.markers import cel, rules


class OnSourceChange(Document):
    """A new version as soon as the sources are seen to have changed.

    Objects in a store are listed once an interval; a Dataset among the inputs is seen at once, without looking.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("duration(self.interval) >= duration('1m')", "interval must be at least 1m", field=".interval")
        )
    )

    interval: Duration = "15m"
    """How often objects are listed, and the least time from one look at the sources to the next whatever has changed."""


class Refresh(Document):
    """When the sources are looked at again. A version is made only if they have changed since they were looked at last."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.schedule) || has(self.onSourceChange)", "set schedule, onSourceChange or both")
        )
    )

    schedule: str | None = Field(default=None, pattern=r"^\S+( +\S+){4}$", max_length=128)
    """Five fields of cron in UTC (minute, hour, day of the month, month, day of the week) such as `0 3 * * *`, as Debian's cron
    reads them, and `L` and `#` besides. Times that were missed are made up for once."""
    on_source_change: OnSourceChange | None = None
