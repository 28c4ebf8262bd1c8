"""Policy: which evaluations of what is in use are kept, which still hold, and when a training's own takes a Job's place."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.api.v1alpha1.continuous import VersionEvaluation
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.contract.canonical import digest, short
from tidemill.contract.gates import Gate

RESULTS_KEPT = 10
JUDGED = "test"
"""The split whose metrics stand in the status."""


def remembered(results: Sequence[VersionEvaluation], newest: VersionEvaluation) -> tuple[VersionEvaluation, ...]:
    """The newest first; what it replaces goes, and what there is no room for. That stays in the store."""
    others = tuple(found for found in results if found.request != newest.request)
    return (newest, *others)[:RESULTS_KEPT]


def attempt_id(generation: int, retry: str | None) -> str:
    """What tells one try of the same evaluation from the next: the user has changed something, or asked for it."""
    return short(digest([generation, retry]))


def holding(results: Sequence[VersionEvaluation], request: str, attempt: str) -> VersionEvaluation | None:
    """The evaluation of this very request that is still good.

    A failure is good only while it is the newest and answers the present attempt: what was wrong may have been put right.
    """
    found = next((one for one in results if one.request == request), None)
    if found is None or found.outcome != "Failed":
        return found
    return found if found is results[0] and found.attempt == attempt else None


def tells_all(version: ModelVersion, gates: Sequence[Gate]) -> bool:
    """Whether the metrics that a training left answer every gate: those on slices or groups need the rows."""
    known = version.status.metrics
    plain = all(not g.slice and not g.group and g.metric in known.get(g.split, {}) for g in gates)
    return bool(known.get(JUDGED)) and plain


def figures_of(version: ModelVersion) -> dict[str, float]:
    """The metrics that a training left, with as many digits as an evaluation's have."""
    return {name: float(f"{value:.6g}") for name, value in version.status.metrics[JUDGED].items()}


def missed_gates(version: ModelVersion, gates: Sequence[Gate]) -> str:
    """The gates that a training's metrics do not pass, in words; empty when all are passed."""
    metrics = version.status.metrics
    told = ((gate, gate.missed(metrics[gate.split][gate.metric])) for gate in gates)
    return "; ".join(f"{gate.split} {gate.metric} {missed}" for gate, missed in told if missed)
