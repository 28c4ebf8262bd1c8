"""What is measured of a model, settled before it is trained, so that a wrong field costs no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.contract.evaluating import ReportOptions
from tidemill_worker.artifact import Artifact
from tidemill_worker.report import fairness, threshold
from tidemill_worker.report.slices import Cut, learn_groups, learn_slices


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked for, and how columns are cut into parts."""

    options: ReportOptions
    slices: tuple[Cut, ...] = ()
    groups: tuple[Cut, ...] = ()


def prepare(options: ReportOptions, dataset: Artifact, classes: Sequence[str] | None) -> Plan:
    """Check what is asked for against the training split, and learn the cuts from it.

    `classes` are the target's, None for a regression. Raises ColumnMissing, ColumnType or InvalidSpec, each with the field.
    """
    if options.fairness is not None:
        fairness.check(options.fairness, classes)
    if options.threshold is not None:
        threshold.check(options.threshold, classes)
    return Plan(
        options=options,
        slices=learn_slices(dataset, options.slices),
        groups=learn_groups(dataset, options.fairness.groups) if options.fairness else (),
    )
