"""Which versions neither the retention keeps nor anything refers to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.fake_api import Raw

from tidemill.api.durations import format_time, parse_time
from tidemill.contract.canonical import short
from tidemill.contract.retention import DatedVersion, Retention, superfluous

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def dated(*ages: float) -> tuple[DatedVersion, ...]:
    """Versions of so many hours, newest first."""
    return tuple(
        DatedVersion(digest=f"sha256:{i:064x}"[:71], prepared_at=format_time(NOW - timedelta(hours=age)))
        for i, age in enumerate(ages)
    )


@pytest.mark.parametrize(
    ("retention", "gone"),
    [
        ({"keepVersions": 1}, [1, 2, 3, 4]),
        ({"keepVersions": 3}, [3, 4]),
        ({"keepVersions": 9}, []),
        ({"keepFor": "24h"}, [3, 4]),
        ({"keepFor": "1s"}, [1, 2, 3, 4]),
        ({"keepVersions": 4, "keepFor": "2h"}, [4]),
        ({"keepVersions": 1, "keepFor": "24h"}, [3, 4]),
    ],
)
def test_what_either_keeps_stays(retention: Raw, gone: list[int]) -> None:
    found = dated(1, 2, 24, 25, 100)
    assert superfluous(Retention.model_validate(retention), found, protected=(), now=NOW) == tuple(
        found[i].digest for i in gone
    )


RETENTIONS = st.fixed_dictionaries(
    {}, optional={"keepVersions": st.integers(1, 12), "keepFor": st.integers(1, 60).map(lambda h: f"{h}h")}
).filter(bool)


@given(
    retention=RETENTIONS,
    digests=st.lists(st.integers(0, 15**4), max_size=30, unique=True),
    ages=st.lists(st.integers(0, 100), min_size=30, max_size=30),
    picked=st.sets(st.integers(0, 29)),
)
def test_nothing_that_is_protected_and_never_the_newest(
    retention: Raw, digests: list[int], ages: list[int], picked: set[int]
) -> None:
    wish = Retention.model_validate(retention)
    found = tuple(
        DatedVersion(digest=f"sha256:{n:04x}{'0' * 60}", prepared_at=format_time(NOW - timedelta(hours=age)))
        for n, age in zip(digests, sorted(ages), strict=False)
    )
    protected = {short(found[i].digest) for i in picked if i < len(found)}
    gone = superfluous(wish, found, protected=protected, now=NOW)
    assert not {short(digest) for digest in gone} & protected
    for place, version in enumerate(found):
        young = wish.keep_for is not None and parse_time(version.prepared_at) >= NOW - timedelta(
            hours=int(wish.keep_for[:-1])
        )
        counted = place < (wish.keep_versions or 0)
        if place == 0 or young or counted:
            assert version.digest not in gone
        elif short(version.digest) not in protected:
            assert version.digest in gone


def test_two_versions_of_one_short_digest_both_stay() -> None:
    twins = tuple(
        DatedVersion(digest=f"sha256:{'a' * 12}{i:052x}", prepared_at="2026-01-01T00:00:00Z") for i in range(3)
    )
    assert superfluous(Retention(keep_versions=1), twins, protected={"a" * 12}, now=NOW) == ()
