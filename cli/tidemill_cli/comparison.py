"""Runs side by side: which parameters differ, whose metrics are best, how the curves went. Pure: the same in, the same out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tidemill.contract.directions import HIGHER_IS_BETTER, LOWER_IS_BETTER
from tidemill.contract.evaluation import Interval
from tidemill.contract.tracking import Measurement, MlflowRun, RunRecord, Scalar
from tidemill_cli.runs import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What the store has of a run beyond the API server: nothing of it need be there."""

    measurements: tuple[Measurement, ...] = ()
    record: RunRecord | None = None
    mlflow: MlflowRun | None = None
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    """By split and metric."""
    confidence: float | None = None
    """Level of the intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRow:
    """One parameter, a value for each run; None where a run has no such parameter."""

    name: str
    values: tuple[Scalar | None, ...]

    @property
    def differs(self) -> bool:
        """Whether not all runs have the same; 1 and True are not the same, 1 and 1.0 are."""
        return len({(isinstance(value, bool), value) for value in self.values}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One metric of one split, a value for each run."""

    split: str
    metric: str
    values: tuple[float | None, ...]
    intervals: tuple[Interval | None, ...]
    best: frozenset[int]
    """Which runs have the best value: none when nobody knows which way is better, or when there is nothing to choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that is shown, in the order in which it is shown."""

    runs: tuple[Run, ...]
    details: tuple[Details, ...]
    parameters: tuple[ParameterRow, ...]
    metrics: tuple[MetricRow, ...]
    notes: tuple[str, ...]
    """What to mind when reading it."""

    @property
    def differing(self) -> tuple[ParameterRow, ...]:
        """The parameters that are not the same for all."""
        return tuple(row for row in self.parameters if row.differs)


def compare(runs: Sequence[Run], details: Sequence[Details], notes: Sequence[str] = ()) -> Comparison:
    """Runs side by side, in this order."""
    return Comparison(
        runs=tuple(runs),
        details=tuple(details),
        parameters=_parameters(runs, details),
        metrics=_metrics(runs, details),
        notes=(*notes, *_notes(runs)),
    )


def curves(comparison: Comparison) -> dict[str, list[list[tuple[int, float]]]]:
    """By metric: for each run its points (step, value), in order of steps; seconds are no curve that one learns from."""
    names = {n: None for d in comparison.details for m in d.measurements for n in m.values if n != "seconds"}
    return {
        name: [
            sorted({m.step: m.values[name] for m in d.measurements if name in m.values}.items())
            for d in comparison.details
        ]
        for name in names
    }


def document(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON has it."""
    return {
        "runs": [
            {
                **{_camel(name): value for name, value in asdict(run).items() if name not in ("parameters", "metrics")},
                "mlflow": details.mlflow.page if details.mlflow else None,
                "image": details.record.image if details.record else None,
                "confidence": details.confidence,
            }
            for run, details in zip(comparison.runs, comparison.details, strict=True)
        ],
        "parameters": [
            {"name": row.name, "values": row.values, "differs": row.differs} for row in comparison.parameters
        ],
        "metrics": [
            {
                "split": row.split,
                "metric": row.metric,
                "values": row.values,
                "intervals": row.intervals,
                "best": [comparison.runs[i].name for i in sorted(row.best)],
            }
            for row in comparison.metrics
        ],
        "curves": curves(comparison),
        "notes": comparison.notes,
    }


def _parameters(runs: Sequence[Run], details: Sequence[Details]) -> tuple[ParameterRow, ...]:
    columns = []
    for run, more in zip(runs, details, strict=True):
        column: dict[str, Scalar] = {"trainer": run.trainer, "dataset": run.dataset, **run.parameters}
        if more.record is not None:
            column |= {"image": more.record.image, **{f"version.{k}": v for k, v in more.record.versions.items()}}
        columns.append(column)
    names = {name: None for column in columns for name in column}
    return tuple(ParameterRow(name=name, values=tuple(c.get(name) for c in columns)) for name in names)


def _metrics(runs: Sequence[Run], details: Sequence[Details]) -> tuple[MetricRow, ...]:
    keys = {(split, metric): None for run in runs for split, values in run.metrics.items() for metric in values}
    order = {"test": 0, "validation": 1, "train": 2}
    rows = []
    for split, metric in sorted(keys, key=lambda key: (order.get(key[0], 3), key[0])):
        values = tuple((run.metrics.get(split) or {}).get(metric) for run in runs)
        intervals = tuple((d.intervals.get(split) or {}).get(metric) for d in details)
        rows.append(
            MetricRow(split=split, metric=metric, values=values, intervals=intervals, best=_best(metric, values))
        )
    return tuple(rows)


def _best(metric: str, values: Sequence[float | None]) -> frozenset[int]:
    present = [value for value in values if value is not None]
    if len(set(present)) < 2 or metric not in LOWER_IS_BETTER | HIGHER_IS_BETTER:
        return frozenset()
    top = min(present) if metric in LOWER_IS_BETTER else max(present)
    return frozenset(i for i, value in enumerate(values) if value == top)


def _notes(runs: Sequence[Run]) -> list[str]:
    notes = []
    for run in runs:
        if not run.metrics:
            doing = f"{run.status}{f', epoch {run.epoch}' if run.epoch else ''}"
            notes.append(f"run {run.name} has no metrics yet: {doing}{f': {run.message}' if run.message else ''}")
        notes += [f"run {run.name}: {warning}" for warning in run.warnings]
    targets = sorted({str(run.parameters["target"]) for run in runs if run.metrics and "target" in run.parameters})
    if len(targets) > 1:
        notes.append(
            f"the runs predict different columns ({', '.join(targets)}): their metrics are not of the same thing"
        )
    if len({run.dataset_digest for run in runs if run.metrics}) > 1:
        notes.append(
            "the runs were evaluated on different dataset versions: their metrics are not of the same rows "
            "(a DriftPolicy's gate compares two models on one split)"
        )
    return notes


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
