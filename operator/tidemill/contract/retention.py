"""How long the versions of a dataset stay in the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from pydantic import ConfigDict, Field

from tidemill.contract.base import Document
from tidemill.contract.canonical import short
from tidemill.contract.durations import Duration, parse_time, seconds
from tidemill.contract.markers import cel, rules


class Retention(Document):
    """Which versions stay: the newest so many, and all of the newest time; with both, what either keeps.

    The newest version always stays, and so does every version that something refers to: the lineage of a ModelVersion, a
    TrainingRun that is not over, a DriftPolicy, a Deployment that scores it or is judged on it, another Dataset.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(cel("has(self.keepVersions) || has(self.keepFor)", "set keepVersions, keepFor or both"))
    )

    keep_versions: int | None = Field(default=None, ge=1, le=1000)
    """So many of the newest versions."""
    keep_for: Duration | None = None
    """Versions that are not older than this, such as 720h."""


class DatedVersion(Document):
    """A version and when it became the newest one."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    prepared_at: str = Field(max_length=40)


def superfluous(
    retention: Retention, versions: Sequence[DatedVersion], *, protected: Collection[str], now: datetime
) -> tuple[str, ...]:
    """The digests of the versions (newest first) that neither the retention keeps nor anything refers to.

    `protected` are short digests (canonical.short): should two versions have the same, both stay.
    """
    oldest = now - timedelta(seconds=seconds(retention.keep_for)) if retention.keep_for else None

    def kept(place: int, version: DatedVersion) -> bool:
        young = oldest is not None and parse_time(version.prepared_at) >= oldest
        return place < max(1, retention.keep_versions or 0) or young or short(version.digest) in protected

    return tuple(version.digest for place, version in enumerate(versions) if not kept(place, version))
