"""Bad input on a real cluster: each ends in a condition whose message names what is wrong, and nothing else suffers."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.e2e import story
from tests.e2e.stand import (
    BUCKET,
    RAW,
    SPACE,
    Stand,
    apply,
    awaited,
    condition,
    content,
    put_table,
    ready,
    resource,
    source,
)
from tests.e2e.story import dataset, trained

from tidemill.contract.canonical import digest
from tidemill.contract.manifest import FileEntry, Manifest

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, slots=True)
class Case:
    """What an object must say."""

    kind: str
    name: str
    condition: str
    reason: str
    says: tuple[str, ...]


CASES = (
    Case("tmds", "missing", "Stalled", "ObjectNotFound", (f"s3://{RAW}/nowhere.parquet",)),
    Case("tmds", "denied", "Stalled", "AccessDenied", (f"s3://{RAW}/rows.parquet",)),
    Case("tmds", "truncated", "Stalled", "DataCorrupt", ("truncated.parquet",)),
    Case("tmds", "sql", "Stalled", "SQLError", ("line 2", "column", "no_such_column")),
    Case("tmds", "violated", "Stalled", "ExpectationFailed", ("small", "width")),
    Case("tmds", "empty", "Stalled", "DatasetEmpty", ("row",)),
    Case("tmrun", "column", "Stalled", "ColumnMissing", ("price", "target")),
    Case("tmrun", "image", "Ready", "ImagePullFailed", ("localhost/no/such-trainer:1", "trainer.container.image")),
    Case("tmrun", "gpu", "Ready", "Unschedulable", ("example.com/gpu", "resources.gpu")),
    Case("tmrun", "diverged", "Stalled", "TrainingDiverged", ("epoch", "learning rate 10")),
)


@pytest.fixture(scope="module")
def good(tidemill: Stand) -> Stand:
    """A dataset, a model that is served, and beside them everything that is wrong with a dataset or a run."""
    with tidemill.s3() as s3:
        table = story.rows()
        put_table(s3, "rows.parquet", table)
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        s3.put_object(Bucket=RAW, Key="truncated.parquet", Body=buffer.getvalue()[:-100])
    wrong = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "wrong"}
    narrow = {"range": {"column": "width", "min": -0.5, "max": 0.5}}
    model = {"name": "wrong"}
    container = {"image": "localhost/no/such-trainer:1", "target": "target"}
    gpu = {"cpu": "50m", "memory": "1Gi", "gpu": {"count": 1, "resourceName": "example.com/gpu"}}
    deep = {"learningRate": 10, "hiddenLayers": [64] * 12, "epochs": 200}
    apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong-keys", "namespace": SPACE}, "stringData": wrong},
        dataset("good", "rows.parquet"),
        story.pool(),
        trained("good", of="good", model={"name": "good", "stage": "Production"}, trainer={}),
        resource("Deployment", "good", model={"name": "good", "stage": "Production"}, online={"pool": story.POOL}),
        dataset("missing", "nowhere.parquet"),
        dataset("denied", "rows.parquet", inputs=source("rows.parquet", secretName="wrong-keys")),
        dataset("truncated", "truncated.parquet"),
        dataset("sql", "rows.parquet", transform={"sql": "SELECT width,\n  no_such_column\nFROM rows"}),
        dataset("violated", "rows.parquet", expectations=[{"name": "small", **narrow}]),
        dataset("empty", "rows.parquet", transform={"sql": "SELECT * FROM rows WHERE width > 1000"}),
        trained("column", of="good", model=model, trainer={"target": "price"}),
        trained("image", of="good", model=model, trainer={}) | {"spec": {
            "dataset": {"name": "good"}, "model": model, "trainer": {"container": container}, "resources": story.SMALL,
        }},
        trained("gpu", of="good", model=model, trainer={}, resources=gpu),
        trained("diverged", of="good", model=model, trainer=deep),
    )  # fmt: skip
    return tidemill


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_says_what_is_wrong(good: Stand, case: Case) -> None:
    """The condition has the reason, and its message names the thing."""
    del good

    def has_reason(obj: dict[str, Any]) -> bool:
        return condition(obj, case.condition).get("reason") == case.reason

    obj = awaited(case.kind, case.name, has_reason, f"{case.condition} {case.reason}")
    found = condition(obj, case.condition)
    assert [text for text in case.says if text not in found["message"]] == [], found["message"]
    assert condition(obj, "Ready")["status"] == "False"


@pytest.fixture(scope="module")
def copies(good: Stand) -> dict[str, Any]:
    """Two copies of a good model's artifact: one byte changed after the manifest; a model that is none, by the rules."""
    version = ready("tmmv", "good-v1")
    artifact = version["spec"]["artifact"]
    with good.s3() as s3:
        manifest = Manifest.model_validate_json(content(s3, f"{artifact['uri']}/manifest.json"))
        files = {entry.path: content(s3, f"{artifact['uri']}/{entry.path}") for entry in manifest.files}
        changed, garbage = bytearray(files["model.onnx"]), b"this is no ONNX model"
        changed[len(changed) // 2] ^= 1
        entry = FileEntry(path="model.onnx", size=len(garbage), sha256=hashlib.sha256(garbage).hexdigest())
        consistent = Manifest(kind="model", files=tuple(entry if f.path == entry.path else f for f in manifest.files))
        for name, model, listed in (("changed", bytes(changed), manifest), ("garbage", garbage, consistent)):
            for path, body in {**files, "model.onnx": model, "manifest.json": listed.canonical()}.items():
                s3.put_object(Bucket=BUCKET, Key=f"{SPACE}/imported/{name}/{path}", Body=body)
    assert digest(json.loads(consistent.canonical())) == consistent.digest

    def version_of(name: str, model: str, number: int, of: Manifest, **spec: Any) -> dict[str, Any]:
        place = {"uri": f"s3://{BUCKET}/{SPACE}/imported/{name}", "digest": of.digest}
        return resource("ModelVersion", f"{model}-v{number}", model=model, version=number, artifact=place, **spec)

    apply(
        version_of("changed", "changed", 1, manifest),
        version_of("garbage", "good", 2, consistent, stage="Production"),
    )
    return version


def test_a_changed_byte_is_found(good: Stand, copies: dict[str, Any]) -> None:
    """A version whose model differs from its manifest by one byte is not verified, and says which file."""
    del good, copies
    obj = awaited("tmmv", "changed-v1", lambda o: condition(o, "Stalled"), "Stalled")
    assert condition(obj, "Verified")["status"] == "False"
    assert condition(obj, "Verified")["reason"] == "NotVerified"
    message = condition(obj, "Stalled")["message"]
    assert "ArtifactCorrupt" in message
    assert "model.onnx" in message


def test_a_model_that_is_none_never_serves(good: Stand, copies: dict[str, Any]) -> None:
    """It asks for Production and does not get it: the version before serves on, and answers."""
    del good, copies
    obj = awaited("tmmv", "good-v2", lambda o: condition(o, "Stalled"), "Stalled")
    assert condition(obj, "Verified")["status"] == "False"
    assert condition(obj, "Stalled")["reason"] == "NotVerified"
    message = condition(obj, "Stalled")["message"]
    assert "ModelInvalid" in message
    assert "model.onnx" in message
    assert obj["status"]["stage"] == "None"
    serving = ready("tmdep", "good")["status"]["serving"]
    assert serving == {"name": "good-v1", "version": 1}
    with story.client() as client:
        answer, version = client.over_http("good", story.rows(3))
    assert version == "1"
    assert answer.shape == (3,)
