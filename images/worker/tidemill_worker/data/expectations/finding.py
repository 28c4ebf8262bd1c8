"""How expectations came out: in full for the artifact, in short for the status."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tidemill.contract.expectations import Expectation
from tidemill.contract.results import ExpectationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One expectation's outcome.

    `lasting`: the outcome follows from the rows alone. One that depends on the clock or on an earlier version is for the
    status only: in the artifact its digest would depend on them, so there stands what was measured instead.
    """

    expectation: Expectation
    result: ExpectationResult
    measured: dict[str, Any] = field(default_factory=dict)
    lasting: bool = True

    def document(self) -> dict[str, Any]:
        """What the artifact says."""
        said: dict[str, Any] = {
            "name": self.result.name,
            "kind": self.expectation.kind,
            "severity": self.result.severity,
            "rows": self.result.rows,
        }
        if self.result.violations is not None:
            said["violations"] = self.result.violations
        if self.lasting:
            said |= {"passed": self.result.passed, "message": self.result.message}
        if self.measured:
            said["measured"] = self.measured
        return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """All outcomes, in the order of the spec."""

    findings: tuple[Finding, ...]
    quarantined: int | None
    """Rows taken out; None when no expectation has severity Quarantine."""

    @property
    def results(self) -> tuple[ExpectationResult, ...]:
        """For the status."""
        return tuple(finding.result for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """The content of expectations.json."""
        said: dict[str, Any] = {"expectations": [finding.document() for finding in self.findings]}
        if self.quarantined is not None:
            said["quarantined"] = self.quarantined
        return said


def outcome(
    expectation: Expectation, problem: str, *, rows: int, violations: int | None = None, note: str = ""
) -> ExpectationResult:
    """The result: passed when there is no problem; `note` is said then."""
    return ExpectationResult(
        name=expectation.name,
        passed=not problem,
        severity=expectation.severity,
        violations=violations,
        rows=rows,
        message=problem or note,
    )
