"""PublishModel: evaluate and store the model that a user's own code left, with what is kept of its run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import onnx
import pyarrow as pa

from tidemill.contract.manifest import MANIFEST, PROVENANCE
from tidemill.contract.model import (
    BASELINE_FILE,
    CALIBRATION_FILE,
    EVALUATION_FILE,
    EVALUATION_PAGE,
    EVALUATION_PICTURES,
    EXPLANATION_FILE,
    MODEL_FILE,
    SIGNATURE_FILE,
    Evaluation,
    Signature,
)
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import ArtifactRef, PublishModel
from tidemill.contract.tracking import METRICS_FILE
from tidemill_worker.artifact import Artifact, existing, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import ArtifactCorrupt, ContractViolated, DatasetEmpty, ModelInvalid
from tidemill_worker.leftover import Leftover
from tidemill_worker.model import folder, onnx_signature, tables
from tidemill_worker.model.baseline import baseline
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.own import code
from tidemill_worker.own.metrics import KeptMetrics, MetricsFile
from tidemill_worker.patience import insist
from tidemill_worker.report import build, gates
from tidemill_worker.report.plan import prepare
from tidemill_worker.report.production import told

METRICS, SCRIPT = "metrics.json", "train.py"
_OURS = frozenset(
    {
        MANIFEST,
        PROVENANCE,
        SIGNATURE_FILE,
        BASELINE_FILE,
        EVALUATION_FILE,
        EVALUATION_PAGE,
        EVALUATION_PICTURES,
        EXPLANATION_FILE,
        CALIBRATION_FILE,
    }
)


def run(task: PublishModel, context: Context) -> TrainResult:
    """The artifact that is there already, or a new one. A store that does not answer is waited for: another pod would
    repeat the user's training."""
    return insist(context, lambda: _once(task, context))


def _once(task: PublishModel, context: Context) -> TrainResult:
    ref = existing(context, task.model_root)
    if ref is not None:
        return _result(context, ref)
    return _publish(task, context)


def _result(context: Context, ref: ArtifactRef) -> TrainResult:
    artifact = Artifact(context, ref, name="model")
    evaluation = artifact.parse(EVALUATION_FILE, Evaluation)
    return TrainResult(
        artifact=ref,
        metrics=evaluation.metrics,
        comparison=told(evaluation),
        size_bytes=artifact.manifest.file(MODEL_FILE).size,
    )


def _publish(task: PublishModel, context: Context) -> TrainResult:
    output = Leftover(context.environment.output, called="$TIDEMILL_OUTPUT")
    epochs = _keep_metrics(task, output, context)
    place = _take_over(output, context.folder("model"), context)
    _add_script(task, place, context)
    context.tracker.phase("Downloading", 0.1, task.dataset.uri)
    dataset = Artifact(context, task.dataset, name="dataset")
    train = tables.read_split(dataset, "train")
    if not train.num_rows:
        raise DatasetEmpty(f"{task.dataset.uri} has no training row")
    tables.need(train.column_names, [task.trainer.target], "the dataset", field=f"{task.field}.target")
    signature = _signature(task, place / MODEL_FILE, train)
    plan = prepare(task.evaluation, dataset, signature.classes)
    context.tracker.phase("Evaluating", 0.5)
    predictor = Predictor(place / MODEL_FILE, signature, threads=context.environment.cpus)
    measured = build.measure(plan, predictor, dataset, ("validation", "test"), context, task.production)
    evaluation = _with_users_metrics(measured.evaluation, output, context)
    gates.hold(evaluation, task.gates)
    context.tracker.phase("Explaining", 0.7)
    build.write(place, plan, evaluation, build.explain(plan, predictor, measured.scored, train, context))
    folder.write(
        place,
        signature=signature,
        baseline=baseline(predictor, train),
        evaluation=evaluation,
        calibration=folder.calibration_rows(train),
    )
    ref = publish(context, task, kind="model", folder=place, uri=task.model_root)
    size = (place / MODEL_FILE).stat().st_size
    return TrainResult(
        artifact=ref,
        metrics=evaluation.metrics,
        comparison=told(evaluation),
        epochs=epochs,
        size_bytes=size,
        warnings=context.tracker.warnings,
    )


def _keep_metrics(task: PublishModel, output: Leftover, context: Context) -> int:
    """Keep the metrics by step in the run's folder, whole; returns the last epoch. The same every time that it is done."""
    file = MetricsFile(output)
    if file.read(ended=True):
        KeptMetrics(context.store, task.run_root).save(file.measured)
    if file.problem and file.problem not in context.tracker.warnings:
        context.tracker.warn(file.problem)
    return (file.newest.epoch if file.newest else None) or 0


def _add_script(task: PublishModel, place: Path, context: Context) -> None:
    """The file that trained, beside the model and in its provenance. It is the recorded one: the user's code could change its
    own."""
    if task.kind != "script":
        return
    recorded = code.recorded(task.run_root, context)
    if recorded is None:
        raise ArtifactCorrupt(f"the code of the run was never recorded under {task.run_root}")
    source, body = recorded
    (place / SCRIPT).write_bytes(body)
    context.inputs[source.uri] = source.digest


def _take_over(output: Leftover, place: Path, context: Context) -> Path:
    """Copy what the training left into our own folder, and check the model there: the checker follows links.

    A file named as one of ours is left out: a manifest would be stored before the files that it vouches for.
    """
    names = output.names()
    if MODEL_FILE not in names:
        raise ContractViolated(
            f"the training left no {MODEL_FILE} in $TIDEMILL_OUTPUT ({', '.join(names) or 'nothing is there'}): write "
            "the trained model there before exiting with 0"
        )
    if ours := [name for name in names if name in _OURS]:
        context.tracker.warn(
            f"of $TIDEMILL_OUTPUT {', '.join(ours)} is left out: Tidemill itself puts what has this name beside a model"
        )
    for name in names:
        if name not in (METRICS, METRICS_FILE, *ours):  # external data and config.pbtxt come along
            output.copy(name, place / name)
    try:
        onnx.checker.check_model(str(place / MODEL_FILE))
    except Exception as error:  # the checker raises ValidationError, DecodeError …
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelInvalid(f"the training's {MODEL_FILE} is not a valid ONNX model: {line}") from error
    return place


def _signature(task: PublishModel, path: Path, train: pa.Table) -> Signature:
    target, classes = task.trainer.target, None
    if task.trainer.task == "Classification":
        field = f"{task.field}.target"
        classes = sorted(set(tables.labels(train, target, field=field)) - {""}, key=tables.class_order)
    columns = [name for name in train.column_names if name != target]
    signature = onnx_signature.derive(path, columns=columns, target=target, task=task.trainer.task, classes=classes)
    return signature.model_copy(update={"example": folder.example_row(train, signature)})


def _with_users_metrics(evaluation: Evaluation, output: Leftover, context: Context) -> Evaluation:
    """The user's metrics beside ours; ours are measured, so they win under equal names. What is not finite is left out: JSON
    has no such number."""
    if METRICS not in output.names():
        return evaluation
    try:
        theirs = Evaluation(metrics=json.loads(output.read(METRICS)))
    except ValueError as error:
        raise ContractViolated(
            f'{METRICS} in $TIDEMILL_OUTPUT must look like {{"validation": {{"mae": 1.0}}}}: {error}'
        ) from error
    merged, bad = {split: dict(found) for split, found in evaluation.metrics.items()}, list[str]()
    for split, figures in theirs.metrics.items():
        bad += [f"{name[:40]} of {split[:40]}" for name, value in figures.items() if not math.isfinite(value)]
        kept = {name: value for name, value in figures.items() if math.isfinite(value)}
        merged[split] = {**(ours := merged.get(split, {})), **{n: v for n, v in kept.items() if n not in ours}}
    if bad:
        context.tracker.warn(f"{METRICS}: {', '.join(bad[:3])} is not finite, and left out ({len(bad)} in all)")
    return evaluation.model_copy(update={"metrics": dict(sorted(merged.items()))})
