"""VerifyModel: every file against the manifest, the ONNX graph by its checker, and one real inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from tidemill.contract.model import BASELINE_FILE, EVALUATION_FILE, MODEL_FILE, SIGNATURE_FILE, Baseline, Evaluation
from tidemill.contract.results import VerifyResult
from tidemill.contract.tasks import VerifyModel
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.errors import ArtifactCorrupt, ModelInvalid
from tidemill_worker.model.example import example_feed
from tidemill_worker.model.predictor import Predictor


def run(task: VerifyModel, context: Context) -> VerifyResult:
    """Raise ArtifactCorrupt or ModelInvalid, naming the file, or say what the model is."""
    context.tracker.phase("Downloading", 0.1, task.artifact.uri)
    artifact = Artifact(context, task.artifact, name="model")
    for needed in (MODEL_FILE, SIGNATURE_FILE):
        if not artifact.has(needed):
            raise ArtifactCorrupt(f"model {task.artifact.uri} has no file {needed}")
    folder = artifact.fetch_all()
    context.tracker.phase("Verifying", 0.5)
    path = folder / MODEL_FILE
    try:
        onnx.checker.check_model(str(path), full_check=True)
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # the checker raises ValidationError, DecodeError, InferenceError …
        raise ModelInvalid(
            f"{task.artifact.uri}/{MODEL_FILE} is not a valid ONNX model: {_first_line(error)}"
        ) from error
    if artifact.has(BASELINE_FILE):
        artifact.parse(BASELINE_FILE, Baseline)
    if artifact.has(EVALUATION_FILE):
        artifact.parse(EVALUATION_FILE, Evaluation)
    predictor = Predictor.of(artifact)
    context.tracker.phase("Inferring", 0.8)
    _infer_once(predictor, task.artifact.uri)
    opset = max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)
    return VerifyResult(
        size_bytes=sum(entry.size for entry in artifact.manifest.files),
        opset=opset,
        inputs=len(predictor.signature.inputs),
        outputs=len(predictor.signature.outputs),
    )


def _infer_once(predictor: Predictor, uri: str) -> None:
    """Outputs of the example must be finite and shaped as the signature says."""
    signature = predictor.signature
    if signature.example is None:
        raise ModelInvalid(f"{uri}/{SIGNATURE_FILE} has no example row for a first inference")
    outputs = predictor.run_feed(example_feed(signature))
    for spec in signature.outputs:
        value: np.ndarray[Any, Any] = outputs[spec.name]
        wanted = (1, *spec.shape[1:])
        fits = len(value.shape) == len(wanted) and all(w in (-1, g) for w, g in zip(wanted, value.shape, strict=False))
        if not fits:
            raise ModelInvalid(f"output {spec.name} of {uri} has shape {list(value.shape)}, not {list(wanted)}")
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise ModelInvalid(f"output {spec.name} of {uri} is not finite for the example row")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
