"""PublishModel: evaluate and store the model that a user's own container left."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pyarrow as pa

from tidemill.contract.model import EVALUATION_FILE, MODEL_FILE, Evaluation, Signature
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import ArtifactRef, PublishModel
from tidemill_worker.artifact import Artifact, existing, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import ContractViolated, DatasetEmpty, ModelInvalid
from tidemill_worker.leftover import Leftover
from tidemill_worker.model import folder, gates, onnx_signature, tables
from tidemill_worker.model.baseline import baseline
from tidemill_worker.model.evaluation import evaluate_splits
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.patience import insist

METRICS = "metrics.json"


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
    return TrainResult(
        artifact=ref,
        metrics=artifact.parse(EVALUATION_FILE, Evaluation).metrics,
        size_bytes=artifact.manifest.file(MODEL_FILE).size,
    )


def _publish(task: PublishModel, context: Context) -> TrainResult:
    output = Leftover(context.environment.work_dir / "output", called="$TIDEMILL_OUTPUT")
    place = _take_over(output, context.folder("model"))
    context.tracker.phase("Downloading", 0.1, task.dataset.uri)
    dataset = Artifact(context, task.dataset, name="dataset")
    train = tables.read_split(dataset, "train")
    if not train.num_rows:
        raise DatasetEmpty(f"{task.dataset.uri} has no training row")
    tables.need(train.column_names, [task.trainer.target], "the dataset", field="spec.trainer.container.target")
    signature = _signature(task, place / MODEL_FILE, train)
    context.tracker.phase("Evaluating", 0.5)
    predictor = Predictor(place / MODEL_FILE, signature, threads=context.environment.cpus)
    evaluation = _with_users_metrics(evaluate_splits(predictor, dataset), output)
    gates.hold(evaluation, task.gates)
    folder.write(
        place,
        signature=signature,
        baseline=baseline(predictor, train),
        evaluation=evaluation,
        calibration=folder.calibration_rows(train),
    )
    ref = publish(context, task, kind="model", folder=place, uri=task.model_root)
    size = (place / MODEL_FILE).stat().st_size
    return TrainResult(artifact=ref, metrics=evaluation.metrics, size_bytes=size)


def _take_over(output: Leftover, place: Path) -> Path:
    """Copy what the container left into our own folder, and check the model there: the checker follows links."""
    names = output.names()
    if MODEL_FILE not in names:
        raise ContractViolated(
            f"the container left no {MODEL_FILE} in $TIDEMILL_OUTPUT ({', '.join(names) or 'nothing is there'}): write "
            "the trained model there before exiting with 0"
        )
    for name in names:
        if name != METRICS:  # external data and config.pbtxt come along
            output.copy(name, place / name)
    try:
        onnx.checker.check_model(str(place / MODEL_FILE))
    except Exception as error:  # the checker raises ValidationError, DecodeError …
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelInvalid(f"the container's {MODEL_FILE} is not a valid ONNX model: {line}") from error
    return place


def _signature(task: PublishModel, path: Path, train: pa.Table) -> Signature:
    target, classes = task.trainer.target, None
    if task.trainer.task == "Classification":
        field = "spec.trainer.container.target"
        classes = sorted(set(tables.labels(train, target, field=field)) - {""}, key=tables.class_order)
    columns = [name for name in train.column_names if name != target]
    signature = onnx_signature.derive(path, columns=columns, target=target, task=task.trainer.task, classes=classes)
    return signature.model_copy(update={"example": folder.example_row(train, signature)})


def _with_users_metrics(evaluation: Evaluation, output: Leftover) -> Evaluation:
    """The user's metrics beside ours; ours are measured, so they win under equal names."""
    if METRICS not in output.names():
        return evaluation
    try:
        theirs = Evaluation(metrics=json.loads(output.read(METRICS)))
    except ValueError as error:
        raise ContractViolated(
            f'the container\'s {METRICS} must look like {{"validation": {{"mae": 1.0}}}}: {error}'
        ) from error
    merged = {
        split: {**theirs.metrics.get(split, {}), **evaluation.metrics.get(split, {})}
        for split in sorted({*theirs.metrics, *evaluation.metrics})
    }
    return evaluation.model_copy(update={"metrics": merged})
