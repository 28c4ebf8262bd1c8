"""The generated CRDs on a real API server: established, documented, defaulted, and refusing what is wrong."""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.apiserver import GROUP_PATH, ROOT, Api, eventually, kubectl, proxied, run, temporary_namespace
from tests.e2e.cluster import Cluster

from tidemill.api.v1alpha1 import KINDS

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
Manifest = dict[str, Any]
VALID: dict[str, Manifest] = {m["metadata"]["name"]: m for m in yaml.safe_load_all((HERE / "valid.yaml").read_text())}
REFUSALS: list[Manifest] = yaml.safe_load((HERE / "refusals.yaml").read_text())
UPDATES: list[Manifest] = yaml.safe_load((HERE / "updates.yaml").read_text())
CRDS = [kind.NAMES.crd_name for kind in KINDS.values()]


def case_name(case: Manifest) -> str:
    """The case as pytest shows it: what is changed, of what."""
    return f"{case['of']}-{json.dumps(case['set'].get('spec', case['set']), separators=(',', ':'))[:90]}"


def merged(base: Any, change: Any) -> Any:
    """RFC 7386: null removes, objects merge, all else replaces."""
    if not isinstance(change, dict):
        return change
    out = dict(base) if isinstance(base, dict) else {}
    for key, value in change.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def is_served(api: Api, plural: str) -> bool:
    """Whether a kind can be listed."""
    return api.request("GET", f"{GROUP_PATH}/{plural}").status == 200


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    del cluster  # kubectl goes to it
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds/")
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{name}" for name in CRDS))
    with proxied() as api:
        # Each CRD's handler starts a moment after the condition says so.
        for kind in KINDS.values():
            eventually(f"{kind.NAMES.plural} are served", partial(is_served, api, kind.NAMES.plural))
        yield api


@pytest.fixture(scope="module")
def namespace(api: Api) -> Iterator[str]:
    del api
    with temporary_namespace(f"tidemill-crds-{secrets.token_hex(3)}") as name:
        yield name


@pytest.fixture
def created(api: Api, namespace: str) -> Iterator[Any]:
    """Creates objects that are gone after the test."""
    made: list[Manifest] = []

    def create(manifest: Manifest) -> Manifest:
        answer = api.create(manifest, namespace)
        assert answer.status == 201, answer.message
        made.append(manifest)
        return answer.body

    yield create
    for manifest in made:
        assert api.request("DELETE", api.path(manifest, namespace)).status == 200


@pytest.mark.parametrize("name", CRDS)
def test_is_established_and_structural(api: Api, name: str) -> None:
    crd = api.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}").body
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions


@pytest.mark.parametrize("name", VALID)
def test_a_valid_manifest_is_accepted(api: Api, namespace: str, name: str) -> None:
    answer = api.create(VALID[name], namespace, dryRun="All")
    assert answer.status == 201, answer.message


def test_every_kind_has_a_valid_manifest_and_refusals() -> None:
    assert {m["kind"] for m in VALID.values()} == set(KINDS)
    assert {VALID[case["of"]]["kind"] for case in REFUSALS} == set(KINDS)
    assert len(REFUSALS) >= 60


@pytest.mark.parametrize("case", REFUSALS, ids=case_name)
def test_a_wrong_manifest_is_refused_by_a_message_that_names_the_field(
    api: Api, namespace: str, case: Manifest
) -> None:
    answer = api.create(merged(VALID[case["of"]], case["set"]), namespace, dryRun="All")
    assert answer.status in (400, 422), f"accepted: {json.dumps(answer.body.get('spec'))}"
    for text in case["says"]:
        assert text in answer.message


@pytest.mark.parametrize("case", UPDATES, ids=case_name)
def test_updates(api: Api, namespace: str, created: Any, case: Manifest) -> None:
    manifest = VALID[case["of"]]
    created(manifest)
    answer = api.merge(manifest, namespace, case["set"])
    if "says" not in case:
        assert answer.status == 200, answer.message
        return
    assert answer.status == 422, f"accepted: {json.dumps(answer.body.get('spec'))}"
    for text in case["says"]:
        assert text in answer.message


def test_kubectl_shows_the_refusal_as_it_is(namespace: str) -> None:
    wrong = merged(VALID["online"], {"spec": {"online": None}})
    done = run("kubectl", "apply", "-n", namespace, "-f", "-", stdin=json.dumps(wrong))
    assert done.returncode == 1
    assert 'The Deployment "online" is invalid: spec.online: Invalid value' in done.stderr
    assert "mode Online needs online" in done.stderr


def test_defaults_are_filled_in(created: Any) -> None:
    spec = created(VALID["container"])["spec"]
    assert spec["job"] == {"backoffLimit": 3, "ttlSecondsAfterFinished": 3600}
    assert spec["resources"] == {"cpu": "1", "memory": "2Gi"}
    assert spec["suspend"] is False
    assert "checkpoint" not in spec
    assert "gpu" not in spec["resources"]
    policy = created(VALID["retrain"])["spec"]
    assert policy["minSamples"] == 500
    assert policy["monitors"][0]["metric"] == "PSI"
    assert policy["action"]["retrain"]["gate"] == {"metric": "mae", "minImprovement": 0.01, "windowRows": 500}
    assert created(VALID["alert"])["spec"]["action"] == {"type": "Alert"}
    deployment = created(VALID["online"])["spec"]
    assert deployment["mode"] == "Online"
    assert deployment["online"] == {"pool": "cpu", "replicas": 2, "samplingPercent": 10, "variant": "original"}
    assert "batch" not in deployment
    assert "edge" not in deployment


def test_no_default_stands_in_the_way_of_a_later_apply(namespace: str) -> None:
    """A defaulted union member or list element would stay beside what a second apply asks for."""
    for mode in ("--server-side=true", "--server-side=false"):
        first, second = copy.deepcopy(VALID["steps"]), copy.deepcopy(VALID["steps"])
        first["spec"].pop("split", None)
        second["spec"]["split"] = {"byTime": {"column": "day"}}
        for manifest in (first, second):
            kubectl("apply", mode, "-n", namespace, "-f", "-", stdin=json.dumps(manifest))
        found = json.loads(kubectl("get", "tmds", "steps", "-n", namespace, "-o", "json"))
        assert found["spec"]["split"] == {"byTime": {"column": "day", "validation": 0.1, "validationRows": "Newest"}}
        kubectl("delete", "tmds", "steps", "-n", namespace)
        first, second = copy.deepcopy(VALID["alert"]), copy.deepcopy(VALID["alert"])
        second["spec"]["monitors"] = [{"name": "mine"}]
        for manifest in (first, second):
            kubectl("apply", mode, "-n", namespace, "-f", "-", stdin=json.dumps(manifest))
        found = json.loads(kubectl("get", "tmdrift", "alert", "-n", namespace, "-o", "json"))
        assert [m["name"] for m in found["spec"]["monitors"]] == ["mine"]
        kubectl("delete", "tmdrift", "alert", "-n", namespace)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda k: k.NAMES.kind)
def test_short_names_and_printer_columns(created: Any, namespace: str, kind: Any) -> None:
    created(next(m for m in VALID.values() if m["kind"] == kind.NAMES.kind))
    header, row = kubectl("get", kind.NAMES.short[0], "-n", namespace).splitlines()
    wanted = [c.name.upper() for c in kind.NAMES.columns if not c.priority]
    assert header.split() == ["NAME", *wanted]
    assert row.split()[-1].endswith("s"), "the age is the last column"


def test_the_category_lists_all_kinds(created: Any, namespace: str) -> None:
    for kind in KINDS:
        created(next(m for m in VALID.values() if m["kind"] == kind))
    found = kubectl("get", "tidemill", "-n", namespace, "-o", "name").split()
    assert {name.split(".")[0] for name in found} == {k.NAMES.singular for k in KINDS.values()}


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("tmdep.spec.online", ["The model answers requests", "samplingPercent", "-required-", "ServingPool"]),
        ("tmds.spec.transform.sql", ["DuckDB"]),
        ("tmrun.spec.trainer.tabularRegression", ["hiddenLayers", "The column to predict"]),
        ("tmrun.spec.trainer.boostedClassification", ["maxLeaves", "Gradient-boosted decision trees"]),
        ("tmmv.spec.optimise.type", ["StaticInt8", "ENUM"]),
        ("tmdrift.spec.action.retrain.gate", ["minImprovement"]),
        ("tmpool.spec.tap", ["segmentLimit"]),
        ("tmplace.status.serving", ["loadSeconds"]),
    ],
)
def test_kubectl_explain(api: Api, path: str, texts: list[str]) -> None:
    del api
    said = kubectl("explain", path)
    for text in texts:
        assert text in said


def test_status_is_a_subresource_and_lenient(api: Api, namespace: str, created: Any) -> None:
    manifest = VALID["dataset"]
    assert "status" not in created({**manifest, "status": {"rows": 5}})
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "Running",
        "message": "x" * 5000,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    answer = api.merge(manifest, namespace, {"status": {"rows": 7, "conditions": [condition]}}, "/status")
    assert answer.status == 200, answer.message
    assert answer.body["status"]["rows"] == 7
    assert answer.body["metadata"]["generation"] == 1
    twice = api.merge(manifest, namespace, {"status": {"conditions": [condition, condition]}}, "/status")
    assert "Duplicate value" in twice.message


def test_wait_for_the_ready_condition(api: Api, namespace: str, created: Any) -> None:
    manifest = VALID["pool"]
    created(manifest)
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "ServersReady",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    assert api.merge(manifest, namespace, {"status": {"conditions": [condition]}}, "/status").status == 200
    assert "condition met" in kubectl("wait", "--for=condition=Ready", "-n", namespace, "tmpool/pool", "--timeout=5s")


def test_a_pool_can_be_scaled(api: Api, namespace: str, created: Any) -> None:
    manifest = VALID["pool"]
    created(manifest)
    kubectl("scale", "tmpool/pool", "--replicas=5", "-n", namespace)
    status = {"status": {"replicas": 2, "selector": "tidemill.dev/servingpool=pool"}}
    assert api.merge(manifest, namespace, status, "/status").status == 200
    scale = api.request("GET", api.path(manifest, namespace) + "/scale").body
    assert scale["spec"]["replicas"] == 5
    assert scale["status"] == {"replicas": 2, "selector": "tidemill.dev/servingpool=pool"}


def test_an_object_that_a_newer_rule_refuses_can_still_be_finished(api: Api, namespace: str) -> None:
    """Ratcheting: finalizers, labels and status of old objects change although their spec is no longer valid."""
    crd = yaml.safe_load((ROOT / "crds/servingpools.yaml").read_text())
    name = f"servingpools.{(group := f't{secrets.token_hex(3)}.tidemill.test')}"
    crd["metadata"]["name"], crd["spec"]["group"] = name, group
    crd["spec"]["names"] |= {"shortNames": [], "categories": []}
    loose = copy.deepcopy(crd)
    spec = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["x-kubernetes-validations"]
    spec["properties"]["replicas"].pop("maximum")
    old = merged(
        VALID["pool"],
        {
            "apiVersion": f"{group}/v1alpha1",
            "metadata": {"finalizers": ["tidemill.test/hold"]},
            "spec": {"replicas": 2000, "resources": {"gpu": {"count": 1}}},
        },
    )
    path = f"/apis/{group}/v1alpha1/namespaces/{namespace}/servingpools"
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    try:
        assert api.request("POST", definitions, loose).status == 201
        eventually("the old object is made", lambda: api.request("POST", path, old).status == 201)
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(crd))
        probe = merged(old, {"metadata": {"name": "probe"}})
        eventually("the rule is in force", lambda: api.request("POST", path, probe, dryRun="All").status == 422)

        def merge(change: Manifest) -> Any:
            return api.request("PATCH", f"{path}/pool", change, content="application/merge-patch+json")

        labelled = merge({"metadata": {"labels": {"a": "b"}}})
        assert labelled.status == 200, labelled.message
        assert merge({"spec": {"replicas": 3000}}).status == 422, "a changed value must be valid"
        assert "cannot use a GPU" in merge({"spec": {"tap": {"flushRows": 10}}}).message
        assert api.request("DELETE", f"{path}/pool").status == 200
        released = merge({"metadata": {"finalizers": None}})
        assert released.status == 200, released.message
        eventually("the object is gone", lambda: api.request("GET", f"{path}/pool").status == 404)
    finally:
        api.request("DELETE", f"{definitions}/{name}")
