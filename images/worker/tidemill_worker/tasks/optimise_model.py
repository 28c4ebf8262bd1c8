"""OptimiseModel: one optimised variant, measured beside the original; served only when it keeps its tolerances."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.contract.model import CALIBRATION_FILE, MODEL_FILE, REPORT_FILE, VariantReport, is_not_served
from tidemill.contract.optimisation import Tolerance
from tidemill.contract.results import VariantResult
from tidemill.contract.tasks import OptimiseModel
from tidemill_worker import log
from tidemill_worker.artifact import Artifact, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import InvalidData
from tidemill_worker.model import quantize
from tidemill_worker.model.evaluation import class_outputs, evaluate, prediction_of, rows_of
from tidemill_worker.model.latency import medians
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.model.weights import external_files, size_bytes
from tidemill_worker.recorded import ArtifactResult, recorded


def run(task: OptimiseModel, context: Context) -> ArtifactResult:
    """The variant that this task made before, or a new one."""
    return recorded(context, task, task.root, lambda: _optimise(task, context))


def _optimise(task: OptimiseModel, context: Context) -> VariantResult:
    context.tracker.phase("Downloading", 0.1, task.artifact.uri)
    artifact = Artifact(context, task.artifact, name="model")
    source = artifact.fetch_all()
    original = Predictor.of(artifact)
    rows = _calibration(artifact, task.optimisation.calibration_rows)
    context.tracker.phase("Quantizing", 0.3)
    place = context.folder("variant")
    quantized = _closest(original, source / MODEL_FILE, rows, context.folder("candidates"))
    # A quantized model holds its weights in itself; one that is only copied needs its weights beside it.
    replaced = {MODEL_FILE, *external_files(source / MODEL_FILE)} if quantized is not None else set()
    for entry in artifact.manifest.files:
        if entry.path not in {REPORT_FILE, *replaced} and not is_not_served(entry.path):
            (place / entry.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / entry.path, place / entry.path)
    if quantized is not None:
        shutil.copyfile(quantized, place / MODEL_FILE)
    context.tracker.phase("Measuring", 0.7)
    variant = Predictor(place / MODEL_FILE, original.signature)
    dataset = Artifact(context, task.dataset, name="dataset") if task.dataset is not None else None
    metric, before, after, increase = _error(original, variant, rows, dataset)
    latency_before, latency_after = _latency(original, variant, rows)
    tolerance = task.optimisation.tolerance
    reason = _refusal(metric, before, after, increase, latency_before, latency_after, tolerance)
    if quantized is None:
        reason = f"nothing to quantize: {quantize.why_not(source / MODEL_FILE)}"
    report = VariantReport(
        name=task.optimisation.name,
        size_bytes_before=size_bytes(source / MODEL_FILE),
        size_bytes_after=size_bytes(place / MODEL_FILE),
        metric=metric,
        metric_before=before,
        metric_after=after,
        error_increase=float(f"{increase:.6g}"),
        latency_ms_before=latency_before,
        latency_ms_after=latency_after,
        accepted=not reason,
        reason=reason,
    )
    log.info("variant measured", **report.model_dump())
    (place / REPORT_FILE).write_text(report.to_json())
    ref = publish(context, task, kind="variant", folder=place, root=task.root)
    return VariantResult(artifact=ref, report=report)


def _calibration(artifact: Artifact, number: int) -> pa.Table:
    if not artifact.has(CALIBRATION_FILE):
        raise InvalidData(f"model {artifact.ref.uri} has no {CALIBRATION_FILE}: nothing to calibrate with")
    table = pq.read_table(artifact.fetch(CALIBRATION_FILE))
    if not table.num_rows:
        raise InvalidData(f"{CALIBRATION_FILE} of model {artifact.ref.uri} has no row")
    places = np.unique(np.linspace(0, table.num_rows - 1, min(number, table.num_rows)).astype(np.int64))
    return table.take(pa.array(places))


def _main_output(predictor: Predictor, table: pa.Table) -> np.ndarray:
    """What is compared: predictions, or probabilities where the model gives them."""
    outputs = predictor.run(table)
    if predictor.signature.task == "Classification":
        label, probabilities = class_outputs(predictor, outputs)
        return label if probabilities is None else probabilities
    return prediction_of(predictor, outputs).astype(np.float64)


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.dtype == object:
        return float(np.mean(ours != theirs))
    distance = float(np.mean(np.abs(ours - theirs)))
    return distance if np.isfinite(distance) else float("inf")


def _closest(original: Predictor, source: Path, rows: pa.Table, folder: Path) -> Path | None:
    """The candidate whose outputs are closest to the original's on the calibration rows."""
    feed, wanted = original.feed(rows), _main_output(original, rows)
    found: list[tuple[float, Path]] = []
    for number, recipe in enumerate(quantize.RECIPES):
        target = folder / f"{number}.onnx"
        if quantize.quantize(source, target, feed, recipe):
            distance = _distance(_main_output(Predictor(target, original.signature), rows), wanted)
            log.info("candidate", recipe=recipe.name, distance=distance)
            found.append((distance, target))
    return min(found, key=lambda item: item[0])[1] if found else None


def _error(
    original: Predictor, variant: Predictor, rows: pa.Table, dataset: Artifact | None
) -> tuple[str, float, float, float]:
    """Metric, before, after, and the growth of the error that the tolerance bounds."""
    classification = original.signature.task == "Classification"
    metric = "accuracy" if classification else "mae"
    if dataset is not None and original.signature.target is not None:
        for split in ("test", "validation"):
            table = rows_of(original, dataset, split)
            before, number = evaluate(original, table)
            if number:
                after, _ = evaluate(variant, table)
                was, now = before[metric], after[metric]
                return metric, was, now, was - now if classification else _growth(was, now)
        raise InvalidData(f"{dataset.ref.uri} has no labelled row in its test or validation split to measure the error")
    ours, theirs = _main_output(original, rows), _main_output(variant, rows)
    if classification:
        same = ours == theirs if ours.dtype == object else ours.argmax(axis=1) == theirs.argmax(axis=1)
        return metric, 1.0, float(np.mean(same)), 1 - float(np.mean(same))
    distance = _distance(ours, theirs)
    spread = float(np.mean(np.abs(ours - np.mean(ours))))
    return metric, 0.0, distance, distance / spread if spread > 0 else distance


def _growth(before: float, after: float) -> float:
    if before == 0:
        return 0.0 if after == 0 else 10.0
    return (after - before) / before


def _latency(original: Predictor, variant: Predictor, rows: pa.Table) -> tuple[float, float]:
    feeds = [original.feed(rows.slice(i, 1)) for i in range(min(32, rows.num_rows))]
    before, after = medians(
        [
            lambda n: original.run_feed(feeds[n % len(feeds)]),
            lambda n: variant.run_feed(feeds[n % len(feeds)]),
        ]
    )
    return before, after


def _refusal(
    metric: str, before: float, after: float, increase: float, was_ms: float, now_ms: float, tolerance: Tolerance
) -> str:
    """Why the variant is not accepted, or an empty text."""
    reasons = []
    if not increase <= tolerance.max_error_increase:
        reasons.append(
            f"{metric} went from {before:.6g} to {after:.6g}: the error grew by {increase:.4g}, more than "
            f"maxErrorIncrease {tolerance.max_error_increase:g}"
        )
    if not now_ms <= tolerance.max_latency_ratio * was_ms:
        reasons.append(
            f"latency went from {was_ms:.3g} ms to {now_ms:.3g} ms: {now_ms / was_ms:.2f} of the original's, more than "
            f"maxLatencyRatio {tolerance.max_latency_ratio:g}"
        )
    return "; ".join(reasons)
