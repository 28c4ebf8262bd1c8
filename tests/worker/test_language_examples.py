"""The stories of examples/ about transformers, from their data and manifests to models, without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.api.v1alpha1.trainingrun import TrainingRun
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.build.trainer import training_job
from tidemill.contract.names import ANNOTATION_TASK
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import ArtifactRef, ModelRef

from .lab import Lab
from .language import EXAMPLES, example

SETTINGS = BuildSettings(
    images=Images(worker="worker:1", trainer="trainer:1", language="language:1", serving="serving:1"),
    store=Store(bucket="tidemill"),
)
pytestmark = pytest.mark.slow


def rows_of(script: Path) -> bytes:
    """What an example's script prints."""
    return "".join(json.dumps(row) + "\n" for row in example(script).rows()).encode()


def prepared(lab: Lab, manifest: Path, body: bytes) -> ArtifactRef:
    """The version of the example's Dataset, of these rows."""
    spec = yaml.safe_load(manifest.read_text())["spec"]
    (source,) = spec.pop("inputs")
    uri = lab.put(source["s3"]["uri"].rpartition("/")[2], body)
    inputs = [{"name": source["name"], "s3": {**source["s3"], "uri": uri}}]
    task = {"type": "PrepareDataset", "root": f"{lab.root}/datasets/example", **spec, "inputs": inputs}
    ref: ArtifactRef = lab.run(task).artifact
    return ref


def trained(lab: Lab, manifest: Path, data: ArtifactRef, base: TrainResult | None = None) -> TrainResult:
    """What the operator asks of the pod for an example's TrainingRun, done here."""
    raw = yaml.safe_load(manifest.read_text())
    raw["metadata"]["uid"] = "0123456789"
    run = TrainingRun.model_validate(raw)
    named = run.spec.trainer.base_version
    ref = ModelRef(name=named[1], uri=base.artifact.uri, digest=base.artifact.digest) if base and named else None
    job = training_job(run, data, SETTINGS, base=ref)
    task: dict[str, Any] = json.loads(job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK])
    places = {"runRoot": f"{lab.root}/runs/{manifest.stem}", "modelRoot": f"{lab.root}/models/{manifest.stem}"}
    result = lab.run({**task, **places})
    assert isinstance(result, TrainResult)
    return result


def test_text_fine_tuning(lab: Lab) -> None:
    data = prepared(lab, EXAMPLES / "text-fine-tuning/dataset.yaml", rows_of(EXAMPLES / "text/docstrings.py"))
    result = trained(lab, EXAMPLES / "text-fine-tuning/trainingrun.yaml", data)
    assert result.metrics["test"]["accuracy"] > 0.75, "well beyond its gate"


def test_dpo(lab: Lab) -> None:
    """Of pairs that were not learnt from, the true sentence gains more often than the false one."""
    data = prepared(lab, EXAMPLES / "dpo/dataset.yaml", rows_of(EXAMPLES / "dpo/summaries.py"))
    sft = trained(lab, EXAMPLES / "dpo/sft.yaml", data)
    assert sft.metrics["test"]["perplexity"] < 400, "well beyond its gate"
    tuned = trained(lab, EXAMPLES / "dpo/trainingrun.yaml", data, sft)
    assert tuned.metrics["test"]["rewardAccuracy"] > 0.55, "well beyond its gate"
