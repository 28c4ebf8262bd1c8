"""Gates: whether they can hold at all, asked before a training; whether they hold, asked of its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from tidemill.contract.evaluation import GateOutcome
from tidemill.contract.gates import (
    CLASSIFICATION_METRICS,
    FAIRNESS_MEASURES,
    FORECAST_METRICS,
    REGRESSION_METRICS,
    Gate,
)
from tidemill.contract.model import Evaluation
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import GateNotPassed, InvalidSpec
from tidemill_worker.model import tables
from tidemill_worker.model.classification import RANKED_CLASSES
from tidemill_worker.report.fairness import ENOUGH
from tidemill_worker.report.numbers import known as number
from tidemill_worker.report.plan import Plan
from tidemill_worker.report.slices import Cut


def check_possible(
    gates: Sequence[Gate],
    dataset: Artifact,
    plan: Plan,
    *,
    target: str,
    classes: Sequence[str] | None,
) -> None:
    """Raise InvalidSpec for a gate that no model could pass or fail: its metric or its rows do not exist.

    `classes` are the target's, None for a regression.
    """
    for index, gate in enumerate(gates):
        _check_possible(gate, f"spec.gates[{index}]", dataset, plan, target, classes)


def check_metric(
    metric: str, split: str, dataset: Artifact, plan: Plan, *, target: str, classes: Sequence[str] | None, at: str
) -> None:
    """The same for a metric that decides without a bound, as that of a search does; `at` is where the spec names it."""
    known = _known(classes)
    if metric not in known:
        raise InvalidSpec(f"{at}: there is no {metric} for this task; there are {', '.join(known)}", field=at)
    gate = Gate.model_validate({"metric": metric, "split": split, "min": 0})
    try:
        _check_possible(gate, at, dataset, plan, target, classes)
    except InvalidSpec as error:
        raise InvalidSpec(error.message, field=at) from error


def _known(classes: Sequence[str] | None) -> tuple[str, ...]:
    return REGRESSION_METRICS if classes is None else CLASSIFICATION_METRICS


def _check_possible(
    gate: Gate, field: str, dataset: Artifact, plan: Plan, target: str, classes: Sequence[str] | None
) -> None:
    task = "Regression" if classes is None else "Classification"
    known = _known(classes) if classes is None else (*_known(classes), *FAIRNESS_MEASURES)
    if gate.metric not in known:
        raise _no_metric(field, gate, known)
    cut = _cut(gate, plan, field)
    table = tables.read_split(dataset, gate.split, [target, cut.column] if cut else [target])
    labels = _labels(table, target, task)
    if gate.group is not None and cut is not None:
        _check_groups(gate, table, labels, cut, plan, field)
        return
    if gate.slice is not None and cut is not None:
        labels = labels[_rows(gate, table, cut, field)]
    labels = labels[labels != ""] if task == "Classification" else labels[np.isfinite(labels)]
    if not len(labels):
        raise _no_rows(field, gate)
    _check_metric(gate, labels, classes or (), field)


def check_forecast(
    gates: Sequence[Gate], windows: Mapping[str, pa.Table], plan: Plan, scales: str, quantiles: Sequence[float]
) -> None:
    """The same for a forecast: `windows` by split, and the column of them with what mase divides by."""
    for index, gate in enumerate(gates):
        field = f"spec.gates[{index}]"
        needed = {"coverage": 2, "intervalWidth": 2, "quantileLoss": 1}.get(gate.metric, 0)
        if gate.metric not in FORECAST_METRICS:
            raise _no_metric(field, gate, FORECAST_METRICS)
        if len(quantiles) < needed:
            raise InvalidSpec(
                f"{field}: {gate.metric} needs {needed} of spec.trainer.forecasting.quantiles, of which there are "
                f"{len(quantiles)}",
                field=f"{field}.metric",
            )
        table, cut = windows[gate.split], _cut(gate, plan, field)
        if cut is not None and table.num_rows:
            table = table.filter(pa.array(_rows(gate, table, cut, field)))
        if not table.num_rows:
            raise _no_rows(field, gate)
        if gate.metric == "mase" and not np.isfinite(tables.numbers(table, scales)).any():
            raise InvalidSpec(
                f"{field}: mase does not exist, because no training value differs from the one a season before: mae does",
                field=f"{field}.metric",
            )


def check_rows(gates: Sequence[Gate], rows: Mapping[str, pa.Table], plan: Plan, known: Sequence[str]) -> None:
    """The same for a model that is not judged by a label: `rows` by split are those that it is judged on."""
    for index, gate in enumerate(gates):
        field = f"spec.gates[{index}]"
        if gate.metric not in known:
            raise _no_metric(field, gate, known)
        table, cut = rows[gate.split], _cut(gate, plan, field)
        if cut is not None and table.num_rows:
            _rows(gate, table, cut, field)
        if not table.num_rows:
            raise _no_rows(field, gate)


def _labels(table: pa.Table, target: str, task: str) -> np.ndarray:
    return tables.labels(table, target) if task == "Classification" else tables.numbers(table, target)


def _cut(gate: Gate, plan: Plan, field: str) -> Cut | None:
    """How the gate's column is cut, if it names one."""
    column = gate.group or (gate.slice.column if gate.slice else None)
    if column is None:
        return None
    cuts, asked = (
        (plan.groups, f"{field}.group: {column!r} is none of spec.evaluation.fairness.groups")
        if gate.group
        else (plan.slices, f"{field}.slice.column: {column!r} is none of spec.evaluation.slices")
    )
    found = next((cut for cut in cuts if cut.column == column), None)
    if found is None:
        raise InvalidSpec(f"{asked}: add it there", field=asked.partition(":")[0])
    return found


def _rows(gate: Gate, table: pa.Table, cut: Cut, field: str) -> np.ndarray:
    parts = {part.value: part.rows for part in cut.parts(table)}
    assert gate.slice is not None, "asked by the caller"
    if gate.slice.value not in parts:
        raise _no_slice(field, gate, list(parts))
    return parts[gate.slice.value]


def _check_metric(gate: Gate, labels: np.ndarray, classes: Sequence[str], field: str) -> None:
    where = f"the {gate.split} split" + (f" where {gate.slice.column} is {gate.slice.value}" if gate.slice else "")
    there, reason = len(set(labels) & set(classes)), ""
    match gate.metric:
        case "r2" if np.ptp(labels) == 0:
            reason = f"r2 does not exist, because the target is the same in every row of {where}"
        case "mape" if (labels == 0).any():
            reason = f"mape does not exist, because the target is 0 in some row of {where}: smape does"
        case "rocAuc" | "averagePrecision" if len(classes) != 2 or there != 2:
            reason = (
                f"{gate.metric} needs a target of two classes, both of them in {where}; the training split has "
                f"{len(classes)}, {where} has {len(set(labels))}"
            )
        case "rocAucOvrMacro" | "averagePrecisionMacro" if not 2 < len(classes) <= RANKED_CLASSES or there < 2:
            reason = (
                f"{gate.metric} needs a target of three to {RANKED_CLASSES} classes, two of them in {where}; the training "
                f"split has {len(classes)}, {where} has {there}"
            )
    if reason:
        raise InvalidSpec(f"{field}: {reason}", field=f"{field}.metric")


def _check_groups(gate: Gate, table: pa.Table, labels: np.ndarray, cut: Cut, plan: Plan, field: str) -> None:
    """A difference needs two groups with enough rows; of an equal chance, rows of the class that it is a chance of."""
    favorable = plan.options.fairness.favorable if plan.options.fairness else None
    right = (f" of class {favorable}", labels == favorable)
    wrong = (f" of another class than {favorable}", (labels != favorable) & (labels != ""))
    asked = {"equalOpportunityDifference": (right,), "equalizedOddsDifference": (right, wrong)}
    for of, among in asked.get(gate.metric, (("", labels != ""),)):
        counted = {part.value: int((part.rows & among).sum()) for part in cut.parts(table)}
        if sum(number >= ENOUGH for number in counted.values()) < 2:
            raise InvalidSpec(
                f"{field}: {gate.metric} compares groups with at least {ENOUGH} labelled rows{of} in the {gate.split} split; "
                f"by {cut.column} there are {', '.join(f'{value}: {number}' for value, number in counted.items()) or 'none'}",
                field=f"{field}.group",
            )


def hold(evaluation: Evaluation, gates: Sequence[Gate]) -> None:
    """Raise GateNotPassed, naming every bound that is not kept."""
    broken, first = [], None
    for index, gate in enumerate(gates):
        field = f"spec.gates[{index}]"
        value, where = _value(evaluation, gate, field)
        if missed := gate.missed(value):
            broken.append(f"{gate.split} {gate.metric}{where} {missed}")
            first = first or field
    if broken:
        raise GateNotPassed("; ".join(broken), field=first)


def outcomes(evaluation: Evaluation, gates: Sequence[Gate], *, at: str) -> tuple[GateOutcome, ...]:
    """How every gate came out; `at` is where they stand in the spec. One whose figure does not exist is not passed.

    Unlike a training, whose gates are checked before it begins, a new version of a dataset may lack a slice at any time, and
    its other figures are wanted all the same.
    """
    found = []
    for index, gate in enumerate(gates):
        field, value, where = f"{at}[{index}]", None, ""
        try:
            value, where = _value(evaluation, gate, field)
            missed = gate.missed(value)
        except InvalidSpec as error:
            missed = error.message
        metric = f"{gate.split} {gate.metric}{where}"
        found.append(
            GateOutcome(field=field, metric=metric, value=None if value is None else number(value), missed=missed)
        )
    return tuple(found)


def _value(evaluation: Evaluation, gate: Gate, field: str) -> tuple[float, str]:
    """The gate's figure, and how the rows that it is of are called. Raises InvalidSpec when it does not exist."""
    if gate.split not in evaluation.metrics:
        raise _no_rows(field, gate)
    found, where = _figures(evaluation, gate, field)
    if gate.metric not in found:
        raise _no_metric(field, gate, tuple(found))
    return found[gate.metric], where


def _figures(evaluation: Evaluation, gate: Gate, field: str) -> tuple[dict[str, float], str]:
    """Where the gate's metric stands, and how the rows that it is of are called."""
    if gate.slice is not None:
        parts = {s.value: s for s in evaluation.details[gate.split].slices if s.column == gate.slice.column}
        if gate.slice.value not in parts:
            raise _no_slice(field, gate, list(parts))
        return parts[gate.slice.value].metrics, f" where {gate.slice.column} is {gate.slice.value}"
    if gate.group is not None:
        columns = {f.column: f.measures for f in evaluation.details[gate.split].fairness}
        return columns.get(gate.group, {}), f" between the groups of {gate.group}"
    return evaluation.metrics[gate.split], ""


def _no_rows(field: str, gate: Gate) -> InvalidSpec:
    return InvalidSpec(
        f"{field}: the {gate.split} split has no labelled row to judge by: choose another split, or give the Dataset one",
        field=f"{field}.split",
    )


def _no_slice(field: str, gate: Gate, there: Sequence[str]) -> InvalidSpec:
    assert gate.slice is not None, "asked by the caller"
    return InvalidSpec(
        f"{field}.slice: no labelled row of the {gate.split} split has {gate.slice.value!r} of {gate.slice.column}; there are "
        f"{', '.join(there) or 'none'}",
        field=f"{field}.slice",
    )


def _no_metric(field: str, gate: Gate, known: Sequence[str]) -> InvalidSpec:
    return InvalidSpec(
        f"{field}: there is no {gate.metric} for this task; there are {', '.join(known)}", field=f"{field}.metric"
    )
