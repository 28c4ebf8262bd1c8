"""An upgrade of the CRDs' chart to another schema: objects stay as they are, and the new schema holds at once."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.apiserver import GROUP_PATH, ROOT, Api, eventually, kubectl, proxied
from tests.e2e.cluster import Cluster
from tests.e2e.helm import must

pytestmark = pytest.mark.e2e

CHART = ROOT / "charts/tidemill-crds"
NEW = {"type": "string", "description": "A property of a later release."}


@pytest.fixture
def later(cluster: Cluster, tmp_path: Path) -> Path:
    """The chart as a later release might have it: Datasets have one more optional property."""
    del cluster
    chart = shutil.copytree(CHART, tmp_path / "tidemill-crds")
    file = chart / "templates/datasets.yaml"
    crd = yaml.safe_load(file.read_text())
    (version,) = crd["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["later"] = NEW
    file.write_text(yaml.safe_dump(crd))
    return chart


@pytest.fixture
def release(cluster: Cluster, namespace: str) -> Iterator[str]:
    """The chart as it is now, installed; at the end as it was, and uninstalled, which leaves the CRDs."""
    del cluster
    name = f"t{secrets.token_hex(3)}"
    must("install", name, str(CHART), "-n", namespace, "--take-ownership")
    try:
        yield name
    finally:
        must("upgrade", name, str(CHART), "-n", namespace)
        must("uninstall", name, "-n", namespace)


def test_objects_outlive_another_schema(release: str, later: Path, namespace: str) -> None:
    """What was stored is untouched, the new property is refused before, accepted after, and gone with its schema."""
    text = (Path(__file__).parent / "valid.yaml").read_text()
    dataset = next(m for m in yaml.safe_load_all(text) if m["metadata"]["name"] == "dataset")
    change = {"spec": {"later": "yes"}}
    with proxied() as api:
        before = api.create(dataset, namespace)
        assert before.status == 201, before.message
        assert 'unknown field "spec.later"' in api.merge(dataset, namespace, change).message
        must("upgrade", release, str(later), "-n", namespace)
        eventually("the new property to be accepted", lambda: accepted(api, dataset, namespace, change), seconds=30)
        after = stored(api, dataset, namespace)
        assert after["metadata"]["uid"] == before.body["metadata"]["uid"]
        assert after["spec"] == {**before.body["spec"], "later": "yes"}
        must("upgrade", release, str(CHART), "-n", namespace)
        eventually("the old schema", lambda: "later" not in stored(api, dataset, namespace)["spec"], seconds=30)
        last = stored(api, dataset, namespace)
        assert last["spec"] == before.body["spec"]
        assert last["metadata"]["uid"] == before.body["metadata"]["uid"]
    served = json.loads(kubectl("get", "--raw", GROUP_PATH))
    assert "datasets" in {resource["name"] for resource in served["resources"]}


def accepted(api: Api, manifest: dict[str, Any], namespace: str, change: dict[str, Any]) -> bool:
    """Whether a change is taken."""
    return api.merge(manifest, namespace, change).status == 200


def stored(api: Api, manifest: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The object as the API server has it."""
    return api.request("GET", api.path(manifest, namespace)).body
