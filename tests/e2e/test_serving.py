"""What answers goes on answering: when Triton refuses the next version, and when the operator's rights change their kind."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import numpy as np
import pytest
from tests.e2e import story
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.stand import (
    BUCKET,
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

from tidemill.contract.manifest import FileEntry, Manifest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CONFIG = """backend: "onnxruntime"
max_batch_size: 8
input [
  { name: "width" data_type: TYPE_INT64 dims: [ 1 ] },
  { name: "height" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "colour" data_type: TYPE_STRING dims: [ 1 ] }
]
output [ { name: "prediction" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
"""A user's own configuration of the story's model, with one mistake: `width` is a float."""
NEWEST, FIRST = {"name": "plain", "stage": "Production"}, {"name": "plain", "version": 1}


@pytest.fixture(scope="module")
def served(tidemill: Stand) -> Stand:
    """A model that is served twice: its version in production, and its first version."""
    with tidemill.s3() as s3:
        put_table(s3, "plain.parquet", story.rows())
    apply(
        story.dataset("plain", "plain.parquet"),
        story.trained("plain", of="plain", model=NEWEST, trainer={}),
        story.pool(),
        resource("Deployment", "newest", model=NEWEST, online={"pool": story.POOL}),
        resource("Deployment", "first", model=FIRST, online={"pool": story.POOL}),
    )
    for name in ("newest", "first"):
        ready("tmdep", name)
    return tidemill


def test_a_version_that_triton_refuses_leaves_the_old_one_serving(served: Stand) -> None:
    """It is a valid model, so it is verified and in production; the server's refusal is told, the version before answers."""
    artifact = get("tmmv", "plain-v1")["spec"]["artifact"]
    with served.s3() as s3:
        manifest = Manifest.model_validate_json(content(s3, f"{artifact['uri']}/manifest.json"))
        files = {entry.path: content(s3, f"{artifact['uri']}/{entry.path}") for entry in manifest.files}
        files["config.pbtxt"] = CONFIG.encode()
        place = imported(s3, "refused", files)
    apply(resource("ModelVersion", "plain-v2", model="plain", version=2, artifact=place, stage="Production"))
    assert condition(ready("tmmv", "plain-v2"), "Verified")["status"] == "True"
    deployment = awaited("tmdep", "newest", lambda o: condition(o, "Ready").get("reason") == "LoadFailed", "LoadFailed")
    message = condition(deployment, "Ready")["message"]
    assert [text for text in ("plain-v2", "width") if text not in message] == [], message
    assert condition(deployment, "Available")["status"] == "True"
    assert deployment["status"]["serving"] == {"name": "plain-v1", "version": 1}
    (placement,) = (p for p in listed("modelplacements") if p["spec"]["deployment"] == "newest")
    assert placement["status"]["state"] == "Failed"
    assert placement["status"]["serving"]["modelVersion"] == "plain-v1"
    answers(served, "newest")


def test_a_pool_outlives_a_change_from_roles_to_cluster_roles_and_back(served: Stand) -> None:
    """`helm upgrade` to all namespaces and back to one: the model answers all the time, and a new pod's agent may work."""
    (before,) = roles()
    for watched, kind in (("[]", "ClusterRole"), (f'["{SPACE}"]', "Role")):
        served.upgrade("--set-json", f"watchNamespaces={watched}")
        eventually(f"a RoleBinding of a {kind}", partial(bound, kind), seconds=120)
        answers(served, "first")
        old = kubectl("get", "pod", story.POD, "-n", SPACE, "-o", "jsonpath={.metadata.uid}")
        kubectl("delete", "pod", story.POD, "-n", SPACE)

        def loaded_again(old: str = old) -> bool:
            placements = [p for p in listed("modelplacements") if p["spec"]["deployment"] == "first"]
            return [p.get("status", {}).get("podUid", old) != old and p["status"]["state"] for p in placements] == [
                "Loaded"
            ]

        eventually("the new pod's agent to load the model", loaded_again, seconds=300)
        ready("tmdep", "first")
        answers(served, "first")
    assert before in roles()


def imported(s3: Any, name: str, files: dict[str, bytes]) -> dict[str, str]:
    """Store files as a model artifact; where it is and its digest."""
    entries = (
        FileEntry(path=path, size=len(body), sha256=hashlib.sha256(body).hexdigest()) for path, body in files.items()
    )
    manifest = Manifest(kind="model", files=tuple(sorted(entries, key=lambda entry: entry.path)))
    for path, body in {**files, "manifest.json": manifest.canonical()}.items():
        s3.put_object(Bucket=BUCKET, Key=f"{SPACE}/imported/{name}/{path}", Body=body)
    return {"uri": f"s3://{BUCKET}/{SPACE}/imported/{name}", "digest": manifest.digest}


def roles() -> list[dict[str, str]]:
    """What the pool's RoleBindings bind."""
    return [
        dict(b["roleRef"]) for b in listed("rolebindings") if b["metadata"]["name"].startswith("tidemill-agent-pool")
    ]


def bound(kind: str) -> bool:
    """Whether the pool's agents have a role of this kind."""
    return kind in {role["kind"] for role in roles()}


def answers(stand: Stand, deployment: str) -> None:
    """Ask the Deployment, and expect what the first version's file predicts."""
    table = story.rows(5, seed=4)
    with stand.s3() as s3:
        expected = story.in_process(
            content(s3, f"{get('tmmv', 'plain-v1')['spec']['artifact']['uri']}/model.onnx"), table
        )
    with story.client() as client:
        found, version = client.over_http(deployment, table)
    assert version == "1"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
