"""Quarantine: rows that break an expectation are taken out, each with the names of what it broke and why."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.contract.names import QUARANTINE_EXPECTATION, QUARANTINE_REASON
from tidemill_worker.data import engine
from tidemill_worker.data.engine import literal, quote
from tidemill_worker.data.expectations.finding import Finding
from tidemill_worker.data.expectations.rows import Rows, Rule
from tidemill_worker.errors import InvalidSpec

QUARANTINE = "_tidemill_quarantine"
"""The table of the rows that were taken out: their columns, and two more."""
_MARKED = "_tidemill_marked"


def take_out(rows: Rows, rules: Sequence[Rule]) -> dict[str, Finding]:
    """Move the rows that break one of the rules into the table QUARANTINE. Returns findings by the expectation's name.

    What is unique is asked last, among the rows that break nothing else: a bad row is nobody's original.
    """
    for name in (QUARANTINE_EXPECTATION, QUARANTINE_REASON):
        if name in rows.kinds:
            raise InvalidSpec(
                f"the rows have a column {name!r}, which is what quarantine adds: leave it out in the transform",
                field="spec.transform",
            )
    rows.connection.execute(
        f"CREATE TABLE {quote(QUARANTINE)} AS SELECT *, NULL::VARCHAR AS {QUARANTINE_EXPECTATION}, "
        f"NULL::VARCHAR AS {QUARANTINE_REASON} FROM {quote(rows.table)} LIMIT 0"
    )
    single = [rule for rule in rules if not rule.keys]
    found = {rule.expectation.name: rule.finding(rows) for rule in single}
    _move(rows, [rule for rule in single if not found[rule.expectation.name].result.passed])
    for rule in rules:
        if rule.keys:
            found[rule.expectation.name] = finding = rule.finding(rows)
            if not finding.result.passed:
                _move_repeated(rows, rule)
    return found


def _move(rows: Rows, rules: Sequence[Rule]) -> None:
    """Rows that are bad by themselves: only they are copied."""
    if not rules:
        return
    table, bad = quote(rows.table), " OR ".join(rule.condition for rule in rules)
    rows.connection.execute(f"INSERT INTO {quote(QUARANTINE)} SELECT *, {_said(rules)} FROM {table} WHERE {bad}")
    rows.connection.execute(f"DELETE FROM {table} WHERE {bad}")


def _move_repeated(rows: Rows, rule: Rule) -> None:
    """Rows that are bad because of others: what each is must be known of all before the first one goes."""
    table, marked = quote(rows.table), quote(_MARKED)
    rows.connection.execute(f"CREATE TABLE {marked} AS SELECT *, {_said([rule])} FROM {table}")
    rows.connection.execute(
        f"INSERT INTO {quote(QUARANTINE)} SELECT * FROM {marked} WHERE {QUARANTINE_EXPECTATION} <> ''"
    )
    rows.connection.execute(
        f"CREATE OR REPLACE TABLE {table} AS SELECT * EXCLUDE ({QUARANTINE_EXPECTATION}, {QUARANTINE_REASON}) "
        f"FROM {marked} WHERE {QUARANTINE_EXPECTATION} = ''"
    )
    engine.drop(rows.connection, _MARKED)


def _said(rules: Sequence[Rule]) -> str:
    """The two columns, as SQL: the names of the rules that a row breaks, and why; empty for a good row."""
    names = ", ".join(f"CASE WHEN {rule.condition} THEN {literal(rule.expectation.name)} END" for rule in rules)
    parts = [part for rule in rules for part in rule.parts]
    reasons = ", ".join(f"CASE WHEN {part.condition} THEN {part.reason} END" for part in parts)
    return f"concat_ws(', ', {names}) AS {QUARANTINE_EXPECTATION}, concat_ws('; ', {reasons}) AS {QUARANTINE_REASON}"
