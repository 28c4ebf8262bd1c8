"""ExportModel: OpenVINO IR for the edge, compared with ONNX Runtime on the calibration rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
import pyarrow as pa
import pyarrow.parquet as pq

from tidemill.contract.model import (
    BASELINE_FILE,
    CALIBRATION_FILE,
    MODEL_FILE,
    REPORT_FILE,
    SIGNATURE_FILE,
    ExportReport,
    Signature,
)
from tidemill.contract.results import ExportResult
from tidemill.contract.tasks import ExportModel
from tidemill_worker import log
from tidemill_worker.artifact import Artifact, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import InvalidData, ModelInvalid
from tidemill_worker.model.cut import Preprocessing, cut_text
from tidemill_worker.model.edge import README, preprocess
from tidemill_worker.model.ensembles import tree_ensembles
from tidemill_worker.model.latency import medians
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.model.weights import size_bytes
from tidemill_worker.recorded import ArtifactResult, recorded

PREPROCESSING_FILE = "preprocessing.json"


def run(task: ExportModel, context: Context) -> ArtifactResult:
    """The export that this task made before, or a new one."""
    return recorded(context, task, task.root, lambda: _export(task, context))


def _export(task: ExportModel, context: Context) -> ExportResult:
    context.tracker.phase("Downloading", 0.1, task.artifact.uri)
    artifact = Artifact(context, task.artifact, name="model")
    source = artifact.fetch_all()
    original = Predictor.of(artifact)
    if not artifact.has(CALIBRATION_FILE):
        raise InvalidData(f"model {task.artifact.uri} has no {CALIBRATION_FILE}: parity cannot be measured")
    rows = pq.read_table(source / CALIBRATION_FILE)
    context.tracker.phase("Converting", 0.3)
    model = onnx.load(source / MODEL_FILE)
    if trees := tree_ensembles(model):
        raise ModelInvalid(
            f"OpenVINO has no operator for decision trees ({', '.join(trees)}): serve the model by a Deployment of mode Online "
            "or Batch, or train a network for the edge"
        )
    numeric, preprocessing = cut_text(model)
    place = context.folder("export")
    _convert(numeric, context.folder("numeric") / MODEL_FILE, place)
    context.tracker.phase("Comparing", 0.7)
    compiled = ov.Core().compile_model(
        place / "model.xml", "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    )
    error = _parity(original, compiled, preprocessing, rows)
    before, after = _latency(original, compiled, preprocessing, rows)
    limit = task.export.max_abs_error
    reason = "" if error <= limit else f"the greatest difference from ONNX Runtime is {error:.4g}, more than {limit:g}"
    report = ExportReport(
        name=task.export.name,
        format=task.export.format,
        size_bytes_before=size_bytes(source / MODEL_FILE),
        size_bytes=sum((place / name).stat().st_size for name in ("model.xml", "model.bin")),
        max_abs_error=error,
        rows_compared=rows.num_rows,
        latency_ms_before=before,
        latency_ms=after,
        accepted=not reason,
        reason=reason,
    )
    log.info("export compared", **report.model_dump())
    (place / PREPROCESSING_FILE).write_text(json.dumps(_described(original.signature, preprocessing), indent=1))
    (place / REPORT_FILE).write_text(report.to_json())
    (place / "README.md").write_text(README)
    for name in (SIGNATURE_FILE, BASELINE_FILE):
        if artifact.has(name):
            shutil.copyfile(source / name, place / name)
    ref = publish(context, task, kind="export", folder=place, root=task.root)
    return ExportResult(artifact=ref, report=report)


def _convert(numeric: onnx.ModelProto, scratch: Path, place: Path) -> None:
    onnx.save(numeric, scratch)
    try:
        converted = ov.Core().read_model(scratch)
        ov.save_model(converted, place / "model.xml", compress_to_fp16=False)
    except RuntimeError as error:
        raise ModelInvalid(
            f"OpenVINO cannot convert the model: {(str(error).strip().splitlines() or [''])[-1]}"
        ) from error


def _described(signature: Signature, preprocessing: Preprocessing) -> dict[str, Any]:
    """How raw columns become the exported model's inputs, and its outputs the answer."""
    inputs = []
    for spec in signature.inputs:
        encoding = preprocessing["inputs"].get(spec.name, {"kind": "number", "datatype": spec.datatype})
        inputs.append({"name": spec.name, "column": spec.column, "shape": list(spec.shape), **encoding})
    return {"inputs": inputs, "outputs": preprocessing["outputs"]}


def _feed(signature: Signature, preprocessing: Preprocessing, rows: pa.Table) -> dict[str, np.ndarray]:
    return preprocess(_described(signature, preprocessing)["inputs"], rows, signature)


def _latency(
    original: Predictor, compiled: ov.CompiledModel, preprocessing: Preprocessing, rows: pa.Table
) -> tuple[float, float]:
    """Of the original, which takes raw texts, and of the export, which takes their numbers."""
    single = [rows.slice(i, 1) for i in range(min(32, rows.num_rows))]
    raw = [original.feed(row) for row in single]
    encoded = [_feed(original.signature, preprocessing, row) for row in single]
    before, after = medians(
        [lambda n: original.run_feed(raw[n % len(raw)]), lambda n: compiled(encoded[n % len(encoded)])]
    )
    return before, after


def _parity(original: Predictor, compiled: ov.CompiledModel, preprocessing: Preprocessing, rows: pa.Table) -> float:
    """The greatest absolute difference over all numeric outputs and rows."""
    expected = original.run(rows)
    found = compiled(_feed(original.signature, preprocessing, rows))
    worst = 0.0
    for output in compiled.outputs:
        name = next((n for n in output.names if n in expected), None)
        if name is not None:
            difference = np.abs(np.asarray(found[output], np.float64) - np.asarray(expected[name], np.float64))
            worst = max(worst, float(np.max(difference, initial=0.0)))
    if not np.isfinite(worst):
        raise ModelInvalid("the exported model gives values that are not finite where the original's are")
    return float(f"{worst:.6g}")
