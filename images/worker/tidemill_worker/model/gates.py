"""Gates: whether they can hold at all, asked before a training; whether they hold, asked of its evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tidemill.contract.model import Evaluation
from tidemill.contract.training import CLASSIFICATION_METRICS, REGRESSION_METRICS, Gate
from tidemill_worker.artifact import Artifact
from tidemill_worker.errors import GateNotPassed, InvalidSpec
from tidemill_worker.model import tables


def check_possible(
    gates: Sequence[Gate],
    dataset: Artifact,
    *,
    target: str,
    task: Literal["Regression", "Classification"],
    classes: Sequence[str] | None,
) -> None:
    """Raise InvalidSpec for a gate that no model could pass or fail: its metric or its rows do not exist."""
    for index, gate in enumerate(gates):
        field = f"spec.gates[{index}]"
        known = CLASSIFICATION_METRICS if task == "Classification" else REGRESSION_METRICS
        if gate.metric not in known:
            raise _no_metric(field, gate, known)
        labelled = _labelled(dataset, gate.split, target, task)
        if not len(labelled):
            raise _no_rows(field, gate)
        if gate.metric == "r2" and np.var(labelled) == 0:
            raise InvalidSpec(
                f"{field}: r2 does not exist, because the target is the same in every row of the {gate.split} split",
                field=f"{field}.metric",
            )
        if gate.metric == "rocAuc" and (len(classes or ()) != 2 or len(set(labelled) & set(classes or ())) != 2):
            raise InvalidSpec(
                f"{field}: rocAuc needs a target of two classes, both of them in the {gate.split} split; the training "
                f"split has {len(classes or ())}, the {gate.split} split has {len(set(labelled))}",
                field=f"{field}.metric",
            )


def _labelled(dataset: Artifact, split: str, target: str, task: str) -> np.ndarray:
    """The targets of the rows that a metric is computed over."""
    table = tables.read_split(dataset, split, [target])
    if task == "Classification":
        names = tables.labels(table, target)
        return np.asarray(names[names != ""])
    values = tables.numbers(table, target)
    return np.asarray(values[~np.isnan(values)])


def hold(evaluation: Evaluation, gates: Sequence[Gate]) -> None:
    """Raise GateNotPassed, naming every bound that is not kept."""
    broken, first = [], None
    for index, gate in enumerate(gates):
        field = f"spec.gates[{index}]"
        if gate.split not in evaluation.metrics:
            raise _no_rows(field, gate)
        found = evaluation.metrics[gate.split]
        if gate.metric not in found:
            raise _no_metric(field, gate, tuple(found))
        value = found[gate.metric]
        if gate.min is not None and not value >= gate.min:
            broken.append(f"{gate.split} {gate.metric} is {value:.6g}, below the minimum {gate.min:g}")
        elif gate.max is not None and not value <= gate.max:
            broken.append(f"{gate.split} {gate.metric} is {value:.6g}, above the maximum {gate.max:g}")
        else:
            continue
        first = first or field
    if broken:
        raise GateNotPassed("; ".join(broken), field=first)


def _no_rows(field: str, gate: Gate) -> InvalidSpec:
    return InvalidSpec(
        f"{field}: the {gate.split} split has no labelled row to judge by: choose another split, or give the Dataset one",
        field=f"{field}.split",
    )


def _no_metric(field: str, gate: Gate, known: Sequence[str]) -> InvalidSpec:
    return InvalidSpec(
        f"{field}: there is no {gate.metric} for this task; there are {', '.join(known)}", field=f"{field}.metric"
    )
