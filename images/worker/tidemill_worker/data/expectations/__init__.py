"""Expectations: what must hold of the transformed rows, checked as users of Great Expectations know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb

from tidemill.contract.expectations import ROW_WISE, Expectation
from tidemill.contract.results import ExpectationResult
from tidemill_worker.data.expectations.distribution import Earlier, check_distribution
from tidemill_worker.data.expectations.finding import Checked, Finding
from tidemill_worker.data.expectations.quarantine import QUARANTINE, take_out
from tidemill_worker.data.expectations.rows import Rows, rule
from tidemill_worker.data.expectations.whole import check_freshness, check_row_count, freshness_again
from tidemill_worker.errors import ExpectationFailed

__all__ = ["QUARANTINE", "Checked", "check", "check_freshness_again"]


def check(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    expectations: Sequence[Expectation],
    *,
    max_quarantined: float | None = None,
    earlier: Earlier = lambda _: None,
    now: datetime | None = None,
) -> Checked:
    """Check all: first those of severity Quarantine, whose rows go from `table` into the table QUARANTINE, then the others on
    the rows that are left. `earlier` gives the version that a distribution is held against.

    Raises ExpectationFailed, naming every violated one, when one of severity Fail is violated, when more than
    `max_quarantined` (a share) of the rows are bad, or all.
    """
    fields = _fields(expectations)
    rows = Rows(connection, table)
    quarantining = [e for e in expectations if e.severity == "Quarantine"]
    found: dict[str, Finding] = {}
    quarantined = None
    if quarantining:
        found = take_out(rows, [rule(rows, e, fields[e.name]) for e in quarantining])
        quarantined = _bounded(rows, found, max_quarantined)
        rows = Rows(connection, table)
    moment = now or datetime.now(UTC)
    for expectation in expectations:
        if expectation.severity != "Quarantine":
            found[expectation.name] = _look(rows, expectation, fields[expectation.name], earlier, moment)
    checked = Checked(findings=tuple(found[e.name] for e in expectations), quarantined=quarantined)
    refuse(checked.results, fields)
    return checked


def check_freshness_again(
    report: dict[str, Any], expectations: Sequence[Expectation], *, now: datetime | None = None
) -> tuple[ExpectationResult, ...]:
    """How fresh a version is now, from its report. Raises ExpectationFailed as `check` does."""
    results = freshness_again(report, expectations, now=now or datetime.now(UTC))
    refuse(results, _fields(expectations))
    return results


def refuse(results: Sequence[ExpectationResult], fields: Mapping[str, str]) -> None:
    """Raise ExpectationFailed when one of severity Fail does not hold."""
    violated = [r for r in results if not r.passed and r.severity == "Fail"]
    if violated:
        raise ExpectationFailed(
            "; ".join(f"expectation {r.name}: {r.message}" for r in violated), field=fields[violated[0].name]
        )


def _fields(expectations: Sequence[Expectation]) -> dict[str, str]:
    return {e.name: f"spec.expectations[{index}]" for index, e in enumerate(expectations)}


def _look(rows: Rows, expectation: Expectation, field: str, earlier: Earlier, now: datetime) -> Finding:
    if expectation.kind in ROW_WISE:
        return rule(rows, expectation, field).finding(rows)
    if expectation.row_count is not None:
        return check_row_count(rows, expectation, expectation.row_count)
    if expectation.freshness is not None:
        return check_freshness(rows, expectation, expectation.freshness, field=field, now=now)
    assert expectation.distribution is not None
    return check_distribution(rows, expectation, expectation.distribution, field=field, earlier=earlier)


def _bounded(rows: Rows, found: dict[str, Finding], limit: float | None) -> int:
    """How many rows were taken out, when they are not too many."""
    left = rows.count()
    taken = rows.number - left
    bad = "; ".join(f"expectation {name}: {f.result.message}" for name, f in found.items() if not f.result.passed)
    if not left:
        raise ExpectationFailed(f"all {rows.number} rows would be quarantined: {bad}", field="spec.expectations")
    if limit is not None and taken > limit * rows.number:
        raise ExpectationFailed(
            f"{taken} of {rows.number} rows ({taken / rows.number:.2%}) would be quarantined, more than "
            f"spec.maxQuarantined allows ({limit:.2%}): {bad}",
            field="spec.maxQuarantined",
        )
    return taken
