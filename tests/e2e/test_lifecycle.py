"""One model's life on a real cluster: data, training, verification, serving, batch, edge, drift, retraining, rest.

The tests are one story in the order of this file; the operator is killed twice on the way.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.e2e import story
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.stand import (
    RAW,
    SPACE,
    Stand,
    apply,
    awaited,
    condition,
    content,
    get,
    listed,
    put_table,
    ready,
    resource,
)
from tests.e2e.story import dataset, trained

from tidemill.contract.canonical import digest
from tidemill.contract.names import LABEL_TASK

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PRODUCTION = {"name": "story", "stage": "Production"}
QUIET = 60.0
REQUESTS, ENOUGH = 400, 350


@pytest.fixture(scope="module")
def begun(tidemill: Stand) -> Stand:
    """Everything but the policy is asked for at once, and the operator is killed at its first and its second Job."""
    with tidemill.s3() as s3:
        put_table(s3, "story.parquet", story.rows())
    loose = {"maxErrorIncrease": 1.0, "maxLatencyRatio": 10.0}
    model = {
        **PRODUCTION,
        "optimise": [{"name": "int8", "type": "StaticInt8", "tolerance": loose}],
        "export": [{"name": "openvino", "format": "OpenVINO"}],
    }
    apply(
        dataset("story", "story.parquet", profile={"html": True, "target": "target"}),
        trained("story", of="story", model=model, trainer={"learningRate": 0.01, "hiddenLayers": [32, 32]}),
        story.pool(),
        resource("Deployment", "story", model=PRODUCTION, online={"pool": story.POOL, "samplingPercent": 100}),
        resource(
            "Deployment",
            "scores",
            mode="Batch",
            model=PRODUCTION,
            batch={"dataset": "story", "resources": story.SMALL},
        ),
        resource(
            "Deployment",
            "bundle",
            mode="Edge",
            model=PRODUCTION,
            edge={"export": "openvino", "resources": story.SMALL},
        ),
    )
    awaited("tmds", "story", lambda o: o.get("status", {}).get("jobName"), "a Job")
    tidemill.kill_operator()
    awaited("tmrun", "story", lambda o: o.get("status", {}).get("jobName"), "a Job")
    tidemill.kill_operator()
    return tidemill


def test_the_dataset_is_prepared(begun: Stand) -> None:
    """Rows, digest, columns and profile are in status, and in the store."""
    status = ready("tmds", "story")["status"]
    assert status["rows"] == sum(status["splitRows"].values()) == story.ROWS
    assert [column["name"] for column in status["columns"]] == ["width", "height", "colour", "target"]
    with begun.s3() as s3:
        manifest = json.loads(content(s3, f"{status['uri']}/manifest.json"))
        assert content(s3, status["profileUri"])
    assert digest(manifest) == status["digest"] == status["versions"][0]["digest"]


def test_the_model_is_trained_verified_and_in_production(begun: Stand) -> None:
    """The run left one ModelVersion, which is verified, has its variant and export, and holds Production."""
    run = ready("tmrun", "story")["status"]
    assert run["modelVersion"] == {"name": "story-v1", "version": 1}
    assert run["metrics"]["test"]["mae"] > 0
    version = ready("tmmv", "story-v1")
    status = version["status"]
    assert condition(version, "Verified")["status"] == "True"
    assert status["verifiedDigest"] == version["spec"]["artifact"]["digest"] == run["artifactDigest"]
    assert version["spec"]["origin"]["datasetDigest"] == get("tmds", "story")["status"]["digest"]
    assert {v["name"]: v["state"] for v in status["variants"]} == {"int8": "Accepted"}
    assert {e["name"]: e["state"] for e in status["exports"]} == {"openvino": "Accepted"}
    assert status["stage"] == "Production"
    assert status["transitions"][0]["to"] == "Production"
    with begun.s3() as s3:
        assert digest(json.loads(content(s3, f"{run['artifactUri']}/manifest.json"))) == run["artifactDigest"]


def test_both_protocols_answer_as_onnxruntime_does(begun: Stand) -> None:
    """The Deployment's answers are those of the stored model, over HTTP and over gRPC."""
    serving = ready("tmdep", "story")["status"]["serving"]
    assert serving == {"name": "story-v1", "version": 1}
    table = story.rows(50, seed=2)
    with begun.s3() as s3:
        expected = story.in_process(content(s3, f"{artifact_of('story-v1')}/model.onnx"), table)
    with story.client() as client:
        for call in (client.over_http, client.over_grpc):
            answers, version = call("story", table)
            assert version == "1"
            np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)


def test_an_accepted_variant_is_served(begun: Stand) -> None:
    """A Deployment that asks for the quantized variant answers as that variant does in process."""
    online = {"pool": story.POOL, "samplingPercent": 0, "variant": "int8"}
    apply(resource("Deployment", "quick", model={"name": "story", "version": 1}, online=online))
    assert ready("tmdep", "quick")["status"]["variant"] == "int8"
    (variant,) = get("tmmv", "story-v1")["status"]["variants"]
    table = story.rows(50, seed=2)
    with begun.s3() as s3:
        model = content(s3, f"{variant['artifact']['uri']}/model.onnx")
    assert b"QuantizeLinear" in model
    with story.client() as client:
        answers, version = client.over_http("quick", table)
    assert version == "1"
    np.testing.assert_allclose(answers, story.in_process(model, table), rtol=1e-3, atol=1e-3)
    kubectl("delete", "tmdep", "quick", "-n", SPACE)


def test_the_dataset_is_scored(begun: Stand) -> None:
    """The batch Deployment's output has a score for every row."""
    status = ready("tmdep", "scores")["status"]
    assert status["outputRows"] == story.ROWS
    with begun.s3() as s3:
        manifest = json.loads(content(s3, f"{status['output']['uri']}/manifest.json"))
        scores = [f["path"] for f in manifest["files"] if f["path"].endswith(".parquet")]
        tables = [pq.read_table(io.BytesIO(content(s3, f"{status['output']['uri']}/{path}"))) for path in scores]
    assert sum(table.num_rows for table in tables) == story.ROWS
    assert all("prediction" in " ".join(table.column_names) for table in tables)


def test_the_bundle_is_published(begun: Stand) -> None:
    """The edge bundle's files have the sizes and hashes that its manifest says, which has the digest of status."""
    status = ready("tmdep", "bundle")["status"]
    with begun.s3() as s3:
        manifest = json.loads(content(s3, f"{status['output']['uri']}/manifest.json"))
        files = {
            entry["path"]: content(s3, f"{status['output']['uri']}/{entry['path']}") for entry in manifest["files"]
        }
    assert digest(manifest) == status["output"]["digest"]
    assert {"model.xml", "model.bin", "bundle.json"} <= files.keys()
    for entry in manifest["files"]:
        assert hashlib.sha256(files[entry["path"]]).hexdigest() == entry["sha256"]
        assert len(files[entry["path"]]) == entry["size"]


def test_nothing_was_done_twice(begun: Stand) -> None:
    """Although the operator was killed twice: one Job a task, one version."""
    del begun
    jobs = Counter(
        (job["metadata"]["ownerReferences"][0]["name"], job["metadata"]["labels"][LABEL_TASK]) for job in listed("jobs")
    )
    assert len(jobs) >= 6
    assert set(jobs.values()) == {1}, jobs
    assert [version["metadata"]["name"] for version in listed("tmmv")] == ["story-v1"]


def test_drift_starts_a_retraining(begun: Stand) -> None:
    """Requests unlike the training data set off an attempt, which compares both models and says what came of it."""
    table = story.rows(REQUESTS, seed=3, shift=6.0)
    ids = [f"late-{number:04d}" for number in range(REQUESTS)]
    with begun.s3() as s3:
        put_table(s3, "labels/late.parquet", pa.table({"request_id": ids, "target": table["target"]}))
    retrain = {
        "template": "story",
        "base": "story",
        "labels": {"s3": {"uri": f"s3://{RAW}/labels/"}, "requestIdColumn": "request_id"},
        "gate": {"metric": "mae", "minImprovement": 0.0, "windowRows": 100},
        "resources": story.SMALL,
    }
    policy = resource(
        "DriftPolicy",
        "story",
        deployment="story",
        monitors=[{"name": "width", "metric": "PSI", "features": ["width"], "threshold": 2.0}],
        interval="2s",
        window="60s",
        minSamples=ENOUGH,
        forConsecutive=2,
        maxRunsPerDay=1,
        action={"type": "Retrain", "retrain": retrain},
    )
    apply(policy)
    with story.client() as client:
        for number, request in enumerate(ids):
            client.over_grpc("story", table.slice(number, 1), request_id=request)
    obj = awaited("tmdrift", "story", lambda o: o.get("status", {}).get("attempts"), "an attempt that ended")
    attempt = obj["status"]["attempts"][0]
    assert attempt["phase"] in ("Promoted", "Kept"), attempt
    assert attempt["champion"] == {"name": "story-v1", "version": 1}
    assert attempt["challenger"] == {"name": "story-v2", "version": 2}
    assert attempt["rows"] == 100
    better = attempt["challengerScore"] <= attempt["championScore"]
    assert (attempt["phase"] == "Promoted") is better, attempt
    wanted = attempt["challenger"] if better else attempt["champion"]
    awaited("tmdep", "story", lambda o: served(o) == wanted, f"{wanted['name']} serves")
    with story.client() as client:
        _, version = client.over_http("story", table.slice(0, 1))
    assert version == str(wanted["version"])


def test_at_rest_nothing_is_written(begun: Stand) -> None:
    """Once the drifted requests are out of the window, the operator writes nothing for a minute."""
    for name in ("story", "scores", "bundle"):
        ready("tmdep", name)
    before = generations()
    rests(begun, QUIET)
    assert generations().keys() == before.keys()


def test_an_upgrade_to_the_same_leaves_all_alone(begun: Stand) -> None:
    """`helm upgrade` with the values that were there restarts nothing and changes no object of ours."""
    before = generations()
    begun.upgrade()
    begun.kill_operator()  # a new process sees everything for the first time, and still has nothing to do
    rests(begun, 15)
    assert generations() == before


def artifact_of(version: str) -> str:
    """Where a ModelVersion's files are."""
    return str(get("tmmv", version)["spec"]["artifact"]["uri"])


def served(deployment: dict[str, Any]) -> Any:
    """The version that answers, when the Deployment is Ready."""
    return deployment["status"].get("serving") if condition(deployment, "Ready").get("status") == "True" else None


def generations() -> dict[str, Any]:
    """UID and generation of our objects and of those that were made for them."""
    return {
        f"{obj['kind']}/{obj['metadata']['name']}": (obj["metadata"]["uid"], obj["metadata"]["generation"])
        for kind in ("tmds", "tmrun", "tmmv", "tmdep", "tmpool", "tmdrift", "modelplacements", "statefulsets", "jobs")
        for obj in listed(kind)
    }


def rests(stand: Stand, seconds: float) -> None:
    """Wait for so many seconds in a row in which the operator writes nothing; fails with what it goes on writing."""
    since, begin = stand.cluster.audit_position(), time.monotonic()

    def rested() -> bool:
        nonlocal since, begin
        now = stand.cluster.audit_position()
        if writes := stand.operator_writes(since):
            last[:] = writes
            since, begin = now, time.monotonic()
        return time.monotonic() - begin >= seconds

    last: list[str] = []
    try:
        eventually(f"{seconds:.0f} s without a write of the operator", rested, seconds=seconds + 180)
    except AssertionError as error:
        raise AssertionError(f"{error}: {last}") from error
