"""Loading, swapping, refusing, unloading: on a real Triton with the project's backend and a real store."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.agent.models import expected, onnx_model
from tests.agent.placing import eventually
from tests.agent.pod import Pod
from tests.worker.conftest import Seaweed

ROW = (250.0, 7, "DL")


def test_a_placement_is_loaded_and_answers(pod: Pod, artifacts: Callable[..., Any]) -> None:
    stored = artifacts(onnx_model(2.0))
    name = pod.placing.create("first", version=3, **stored.spec())
    status = pod.placing.reached(name, "Loaded")
    assert pod.infer("first", [ROW, (1.0, 1, "XX")]) == [expected(2.0, *ROW), expected(2.0, 1.0, 1, "XX")]
    assert pod.loaded("first") == {("first", 3)}
    assert status["podUid"] == f"uid-of-{pod.placing.pod}"
    assert (status["serving"]["version"], status["serving"]["digest"]) == (3, stored.digest)
    assert status["serving"]["modelVersion"] == "model-v3"
    assert status["conditions"][0]["type"] == "Ready"
    assert status["conditions"][0]["status"] == "True"
    assert sorted(path.name for path in (pod.models / "first").iterdir()) == ["3", "config.pbtxt"]
    assert not (pod.models / "first.check").exists()


def test_ten_megabytes_are_loaded_within_two_seconds(pod: Pod, artifacts: Callable[..., Any]) -> None:
    stored = artifacts(onnx_model(2.0, padding=10_000_000))
    name = pod.placing.create("large", version=1, **stored.spec())
    assert pod.placing.reached(name, "Loaded")["serving"]["loadSeconds"] <= 2.0


def test_a_new_version_takes_over_without_an_error(pod: Pod, artifacts: Callable[..., Any]) -> None:
    versions = {number: artifacts(onnx_model(float(number))) for number in (1, 2, 3)}
    name = pod.placing.create("swapped", version=1, **versions[1].spec())
    pod.placing.reached(name, "Loaded")
    answers: list[float] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            try:
                answers.append(pod.infer("swapped", [ROW])[0])
            except Exception as error:
                errors.append(error)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    for number in (2, 3):
        pod.placing.change(name, version=number, **versions[number].spec())
        pod.placing.reached(name, "Loaded", version=number)
    eventually("the newest version answers", lambda: answers[-1] == expected(3.0, *ROW))
    stop.set()
    for thread in clients:
        thread.join()
    assert errors == []
    assert set(answers) == {expected(float(number), *ROW) for number in (1, 2, 3)}
    assert pod.loaded("swapped") == {("swapped", 3)}
    assert sorted(path.name for path in (pod.models / "swapped").iterdir()) == ["3", "config.pbtxt"]
    ours = {stored.digest[7:] for stored in versions.values()}

    def cached() -> set[str]:
        return ours & {path.name for path in (pod.models / ".cache").iterdir()}

    eventually("old artifacts leave the cache", lambda: cached() == {versions[3].digest[7:]})


def test_a_variant_of_the_same_version_takes_over(pod: Pod, artifacts: Callable[..., Any]) -> None:
    name = pod.placing.create("variant", version=1, **artifacts(onnx_model(1.0)).spec())
    pod.placing.reached(name, "Loaded")
    pod.placing.change(name, version=1, variant="int8", **artifacts(onnx_model(5.0)).spec())
    status = pod.placing.reached(name, "Loaded")
    assert status["serving"]["variant"] == "int8"
    assert pod.infer("variant", [ROW]) == [expected(5.0, *ROW)]


@pytest.mark.parametrize("path", ["model.onnx", "baseline.json", "manifest.json"])
def test_one_changed_byte_is_refused_while_the_old_version_serves(
    pod: Pod, artifacts: Callable[..., Any], seaweed: Seaweed, path: str
) -> None:
    deployment = f"changed-{path.split('.')[0]}"
    good, bad = artifacts(onnx_model(1.0)), artifacts(onnx_model(2.0))
    name = pod.placing.create(deployment, version=1, **good.spec())
    pod.placing.reached(name, "Loaded")
    key = f"{bad.uri.removeprefix('s3://tidemill/')}/{path}"
    body = bytearray(seaweed.client.get_object(Bucket="tidemill", Key=key)["Body"].read())
    before = bytes(body)
    body[len(body) // 2] ^= 1
    seaweed.client.put_object(Bucket="tidemill", Key=key, Body=bytes(body))
    pod.placing.change(name, version=2, **bad.spec())
    status = pod.placing.reached(name, "Failed")
    assert f"{bad.uri}/{path}" in status["message"]
    assert _sha256(bytes(body)) in status["message"]
    assert _sha256(before) in status["message"]
    assert status["serving"]["version"] == 1
    assert status["conditions"][0]["reason"] == "LoadFailed"
    assert pod.infer(deployment, [ROW]) == [expected(1.0, *ROW)]
    assert pod.loaded(deployment) == {(deployment, 1)}


def test_a_missing_file_is_named(pod: Pod, artifacts: Callable[..., Any], seaweed: Seaweed) -> None:
    stored = artifacts(onnx_model(1.0))
    key = f"{stored.uri.removeprefix('s3://tidemill/')}/model.onnx"
    seaweed.client.delete_object(Bucket="tidemill", Key=key)
    name = pod.placing.create("missing", version=1, **stored.spec())
    assert f"{stored.uri}/model.onnx is listed" in pod.placing.reached(name, "Failed")["message"]


def test_an_artifact_that_does_not_exist_is_named(pod: Pod) -> None:
    uri = "s3://tidemill/nowhere"
    name = pod.placing.create("nowhere", version=1, artifactUri=uri, artifactDigest="sha256:" + "0" * 64)
    assert f"model {uri} does not exist" in pod.placing.reached(name, "Failed")["message"]


def test_a_file_that_is_no_onnx_is_refused_while_the_old_version_serves(
    pod: Pod, artifacts: Callable[..., Any]
) -> None:
    name = pod.placing.create("broken", version=1, **artifacts(onnx_model(1.0)).spec())
    pod.placing.reached(name, "Loaded")
    pod.placing.change(name, version=2, **artifacts(b"this is no model").spec())
    status = pod.placing.reached(name, "Failed")
    assert "model.onnx" in status["message"]
    assert status["serving"]["version"] == 1
    assert status["attempts"] == 1
    assert pod.infer("broken", [ROW]) == [expected(1.0, *ROW)]
    pod.placing.change(name, version=3, **artifacts(onnx_model(3.0)).spec())
    assert pod.placing.reached(name, "Loaded")["serving"]["version"] == 3
    assert pod.infer("broken", [ROW]) == [expected(3.0, *ROW)]


def test_a_model_that_answers_nan_is_refused(pod: Pod, artifacts: Callable[..., Any]) -> None:
    name = pod.placing.create("nan", version=1, **artifacts(onnx_model(1.0, nan=True)).spec())
    assert "NaN" in pod.placing.reached(name, "Failed")["message"]
    assert pod.loaded("nan") == set()


def test_a_users_own_configuration_is_kept(pod: Pod, artifacts: Callable[..., Any]) -> None:
    own = b"""
    name: "theirs"  # ignored: the name is the deployment's
    backend: "onnxruntime"
    max_batch_size: 7
    input [ { name: "distance" data_type: TYPE_FP32 dims: [1] },
            { name: "hour" data_type: TYPE_INT64 dims: [1] }, { name: "carrier" data_type: TYPE_STRING dims: [1] } ]
    output [ { name: "delay" data_type: TYPE_FP32 dims: [1] } ]
    version_policy { latest { num_versions: 2 } }
    """
    name = pod.placing.create("own", version=4, **artifacts(onnx_model(1.0), extra={"config.pbtxt": own}).spec())
    pod.placing.reached(name, "Loaded")
    config = pod.triton.call("GET", "v2/models/own/config")
    assert (config["name"], config["max_batch_size"]) == ("own", 7)
    assert config["version_policy"] == {"specific": {"versions": [4]}}


def test_a_deleted_placement_is_unloaded(pod: Pod, artifacts: Callable[..., Any]) -> None:
    stored = artifacts(onnx_model(1.5))
    first = pod.placing.create("one", version=1, **stored.spec())
    second = pod.placing.create("two", version=1, **artifacts(onnx_model(2.0)).spec())
    pod.placing.reached(first, "Loaded")
    pod.placing.reached(second, "Loaded")
    pod.placing.delete(first)
    eventually("the model is gone", lambda: pod.loaded("one", "two") == {("two", 1)})
    eventually("its folder is gone", lambda: not (pod.models / "one").exists())
    eventually("its artifact is gone", lambda: not (pod.models / ".cache" / stored.digest[7:]).exists())


def test_many_placements_are_loaded_side_by_side(pod: Pod, artifacts: Callable[..., Any]) -> None:
    stored = artifacts(onnx_model(1.0))
    names = [pod.placing.create(f"model-{i}", version=1, **stored.spec()) for i in range(30)]
    for name in names:
        pod.placing.reached(name, "Loaded")
    assert pod.loaded(*(f"model-{i}" for i in range(30))) == {(f"model-{i}", 1) for i in range(30)}


def test_two_placements_of_one_name_are_not_mixed(pod: Pod, artifacts: Callable[..., Any]) -> None:
    stable = pod.placing.create("twice", version=1, **artifacts(onnx_model(1.0)).spec())
    pod.placing.reached(stable, "Loaded")
    candidate = pod.placing.create("twice", track="candidate", version=2, **artifacts(onnx_model(2.0)).spec())
    assert stable in pod.placing.reached(candidate, "Failed")["message"]
    assert pod.serves("twice") == 1
    pod.placing.delete(stable)
    pod.placing.reached(candidate, "Loaded", version=2)
    assert pod.serves("twice") == 2


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
