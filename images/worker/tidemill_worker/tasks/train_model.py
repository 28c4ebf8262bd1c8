"""TrainModel: a built-in tabular training, from a dataset version to a model artifact."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.contract.layout import join
from tidemill.contract.model import EVALUATION_FILE, MODEL_FILE, Evaluation, Signature, TensorSpec
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import ArtifactRef, TrainModel
from tidemill_worker import log
from tidemill_worker.artifact import Artifact, existing, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import DatasetEmpty, InvalidData, InvalidSpec, ModelInvalid
from tidemill_worker.model import folder, gates, tables
from tidemill_worker.model.baseline import baseline
from tidemill_worker.model.evaluation import class_outputs, evaluate_splits, prediction_of
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.recorded import ArtifactResult, recorded
from tidemill_worker.train import export_onnx, features
from tidemill_worker.train.preprocess import Preprocessor

if TYPE_CHECKING:
    from torch.nn import Module

PARITY_ROWS, PARITY = 2048, 1e-4
MAX_CLASSES = 1000
_WORTH_SHARING = 20_000_000
"""Multiplications of a batch's forward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """How the target column becomes numbers and back."""

    field: str
    column: str
    classes: tuple[str, ...] | None
    mean: float
    scale: float

    def encode(self, table: pa.Table) -> tuple[pa.Table, np.ndarray]:
        """The rows that can be learnt from, and their targets."""
        if self.classes is None:
            values = tables.numbers(table, self.column, field=self.field)
            present = np.isfinite(values)
            scaled = ((values[present] - self.mean) / self.scale).astype(np.float32).reshape(-1, 1)
            return table.filter(pa.array(present)), scaled
        names = tables.labels(table, self.column, field=self.field)
        place = {name: i for i, name in enumerate(self.classes)}
        index = np.array([place.get(name, -1) for name in names], dtype=np.int64)
        return table.filter(pa.array(index >= 0)), index[index >= 0]


def run(task: TrainModel, context: Context) -> ArtifactResult:
    """The model that this task made before, or a new one."""
    return recorded(context, task, task.run_root, lambda: _finished(task, context) or _train(task, context))


def _finished(task: TrainModel, context: Context) -> TrainResult | None:
    """A pod that died between the manifest and the record left a complete artifact: nothing is trained twice."""
    ref = existing(context, task.model_root)
    return _result(task, context, ref) if ref is not None else None


def _result(task: TrainModel, context: Context, ref: ArtifactRef) -> TrainResult:
    artifact = Artifact(context, ref, name="model")
    lines = context.store.read_or_none(join(task.run_root, "metrics.jsonl")) or b""
    return TrainResult(
        artifact=ref,
        metrics=artifact.parse(EVALUATION_FILE, Evaluation).metrics,
        epochs=lines.count(b"\n"),
        size_bytes=artifact.manifest.file(MODEL_FILE).size,
    )


def _learn_target(task: TrainModel, train: pa.Table, field: str) -> _Target:
    column = task.trainer.target
    if task.task == "Regression":
        values = tables.numbers(train, column, field=field)
        values = values[np.isfinite(values)]
        if not len(values):
            raise DatasetEmpty(f"target {column!r} is missing in every training row", field=field)
        return _Target(
            field=field, column=column, classes=None, mean=float(np.mean(values)), scale=float(np.std(values)) or 1.0
        )
    names = sorted(set(tables.labels(train, column, field=field)) - {""}, key=tables.class_order)
    if len(names) < 2:
        raise InvalidData(
            f"target {column!r} has {len(names)} class in the training split; a classification needs two", field=field
        )
    if len(names) > MAX_CLASSES:
        raise InvalidData(f"target {column!r} has {len(names)} classes, more than {MAX_CLASSES}", field=field)
    return _Target(field=field, column=column, classes=tuple(names), mean=0.0, scale=1.0)


def _threads(network: Module, batch: int, cpus: int) -> int:
    """More threads only where a batch is enough work to share: small layers are faster on one."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return cpus if parameters * batch >= _WORTH_SHARING else 1


def _train(task: TrainModel, context: Context) -> TrainResult:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin burn the quota that the others need
    import torch

    from tidemill_worker.train.loop import EncodedSplit, TrainingLoop
    from tidemill_worker.train.network import TabularNetwork

    torch.use_deterministic_algorithms(True, warn_only=True)
    field = f"spec.trainer.tabular{task.task}"
    context.tracker.phase("Downloading", 0.0, task.dataset.uri)
    dataset = Artifact(context, task.dataset, name="dataset")
    schema = pq.read_schema(dataset.fetch("train.parquet"))
    numeric, text = features.choose(schema, task.trainer, field)
    columns = [n for n in schema.names if n in {*numeric, *text, task.trainer.target}]
    train = tables.read_split(dataset, "train", columns)
    if not train.num_rows:
        raise DatasetEmpty(f"{task.dataset.uri} has no training row")
    target = _learn_target(task, train, f"{field}.target")
    gates.check_possible(task.gates, dataset, target=target.column, task=task.task, classes=target.classes)

    context.tracker.phase("Preprocessing", 0.05)
    labelled, encoded_target = target.encode(train)
    if labelled.num_rows < train.num_rows:
        log.warn("rows without a target are left out", split="train", rows=train.num_rows - labelled.num_rows)
    fitted = Preprocessor.fit(labelled, numeric, text, task.trainer.max_categories)
    splits = []
    for rows, wanted in ((labelled, encoded_target), target.encode(tables.read_split(dataset, "validation", columns))):
        numbers, codes = fitted.encode(rows)
        splits.append(EncodedSplit(numbers=numbers, codes=codes, target=wanted))
    if task.trainer.patience is not None and not len(splits[1]):
        raise InvalidSpec(f"{field}.patience needs a validation split, which is empty", field=f"{field}.patience")

    torch.manual_seed(task.trainer.seed)
    network = TabularNetwork(
        numbers=fitted.width,
        categories=[len(categories) for categories in fitted.categories],
        hidden=task.trainer.hidden_layers,
        outputs=1 if target.classes is None else len(target.classes),
        dropout=task.trainer.dropout,
    )
    torch.set_num_threads(_threads(network, min(task.trainer.batch_size, len(splits[0])), context.environment.cpus))
    context.tracker.phase("Training", 0.1)
    loop = TrainingLoop(task, context, network, *splits)
    state = loop.run()

    context.tracker.phase("Exporting", 0.82)
    place = context.folder("model")
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in loop.network.state_dict().items()}
    proto = export_onnx.build(
        fitted,
        weights,
        layers=len(task.trainer.hidden_layers) + 1,
        target_mean=target.mean,
        target_scale=target.scale,
        classes=target.classes,
    )
    export_onnx.save(proto, place / MODEL_FILE)
    signature = _signature(task, fitted, target.classes)
    signature = signature.model_copy(update={"example": folder.example_row(train, signature)})
    predictor = Predictor(place / MODEL_FILE, signature, threads=context.environment.cpus)
    sample = labelled.slice(0, PARITY_ROWS)
    with torch.no_grad():
        device = loop.device
        inputs = [torch.from_numpy(part).to(device) for part in fitted.encode(sample)]
        raw = loop.network(*inputs).cpu().numpy()
    check_parity(predictor, sample, raw, target.mean, target.scale)

    context.tracker.phase("Evaluating", 0.86)
    evaluation = evaluate_splits(predictor, dataset, ("train", "validation", "test"))
    gates.hold(evaluation, task.gates)
    folder.write(
        place,
        signature=signature,
        baseline=baseline(predictor, train),
        evaluation=evaluation,
        calibration=folder.calibration_rows(train),
    )
    ref = publish(context, task, kind="model", folder=place, uri=task.model_root, seed=task.trainer.seed)
    return TrainResult(
        artifact=ref,
        metrics=evaluation.metrics,
        epochs=state.epoch,
        size_bytes=(place / MODEL_FILE).stat().st_size,
        device=loop.device.type,
        warnings=context.tracker.warnings,
    )


def _signature(task: TrainModel, fitted: Preprocessor, classes: tuple[str, ...] | None) -> Signature:
    inputs = [TensorSpec(name=n, datatype="FP32", shape=(-1, 1), column=n) for n in fitted.numeric]
    inputs += [TensorSpec(name=n, datatype="BYTES", shape=(-1, 1), column=n) for n in fitted.text]
    target = task.trainer.target
    if classes is None:
        outputs = [TensorSpec(name="prediction", datatype="FP32", shape=(-1, 1), column=target)]
    else:
        outputs = [
            TensorSpec(name="label", datatype="BYTES", shape=(-1, 1), column=target),
            TensorSpec(name="probabilities", datatype="FP32", shape=(-1, len(classes))),
        ]
    return Signature(task=task.task, inputs=tuple(inputs), outputs=tuple(outputs), target=target, classes=classes)


def check_parity(predictor: Predictor, rows: pa.Table, raw: np.ndarray, mean: float, scale: float) -> None:
    """The ONNX graph must give what the network gives, text preprocessing included, or nothing is published."""
    outputs = predictor.run(rows)
    if predictor.signature.task == "Regression":
        expected = raw[:, 0].astype(np.float64) * scale + mean
        found = prediction_of(predictor, outputs)
        tolerance = PARITY * np.maximum(np.maximum(1.0, scale), np.abs(expected))
    else:
        shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
        expected = shifted / shifted.sum(axis=1, keepdims=True)
        probabilities = class_outputs(predictor, outputs)[1]
        assert probabilities is not None
        found, tolerance = probabilities, np.full_like(expected, PARITY)
    worst = np.max(np.abs(found - expected) / tolerance) if len(rows) else 0.0
    if not worst <= 1:
        raise ModelInvalid(f"the exported model differs from the trained network by {worst:.3g} times the tolerance")
