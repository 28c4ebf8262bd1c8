"""The API server says no: the object says so, and goes on when the reason is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from tests.e2e.apiserver import eventually, kubectl
from tests.e2e.cluster import Cluster
from tests.glue.objects import apply, condition, dataset, get, items, ready, run
from tests.glue.process import Operator

Start = Callable[..., Operator]


def test_a_taken_name_is_reported_and_respected(operator: Start, namespace: str) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "d-inputs", "namespace": namespace, "labels": {"mine": "yes"}},
        "spec": {"clusterIP": "None", "ports": [{"port": 80, "name": "web"}]},
    }
    apply(foreign)
    operator().through_first_pass()
    apply(dataset("d", namespace))
    said = eventually("the condition", lambda: condition(get(namespace, "datasets", "d"), "Reconciling"))
    assert said["reason"] == "NameTaken"
    assert "Service" in said["message"]
    assert "d-inputs" in said["message"]
    kept = get(namespace, "service", "d-inputs")
    assert [p["name"] for p in kept["spec"]["ports"]] == ["web"]
    assert "ownerReferences" not in kept["metadata"]
    kubectl("delete", "service", "d-inputs", "-n", namespace)
    eventually("made", lambda: ready(get(namespace, "datasets", "d")) == "True", seconds=90)
    assert not condition(get(namespace, "datasets", "d"), "Reconciling")


def test_a_quota_is_reported_and_waited_for(operator: Start, namespace: str) -> None:
    kubectl("create", "quota", "jobs", "--hard=count/jobs.batch=1", "-n", namespace)
    eventually("the quota counts", lambda: (get(namespace, "quota", "jobs").get("status") or {}).get("hard"))
    operator().through_first_pass()
    apply(run("a", namespace), run("b", namespace))

    def refused() -> list[str]:
        said = [condition(o, "Reconciling") for o in items(namespace, "trainingruns")]
        return [c["message"] for c in said if c.get("reason") == "QuotaExceeded"]

    messages = eventually("one of them refused", refused)
    assert "count/jobs.batch=1" in messages[0]
    kubectl(
        "patch", "quota", "jobs", "-n", namespace, "--type=merge", "-p", '{"spec":{"hard":{"count/jobs.batch":"9"}}}'
    )
    eventually("both", lambda: [ready(o) for o in items(namespace, "trainingruns")] == ["True", "True"], seconds=90)


def test_a_missing_right_is_reported_and_used_when_given(
    operator: Start, namespace: str, glue_cluster: Cluster, tmp_path: Path
) -> None:
    rules = [
        {"apiGroups": ["tidemill.dev"], "resources": ["*"], "verbs": ["get", "list", "watch", "patch"]},
        {
            "apiGroups": ["", "batch", "apps", "discovery.k8s.io", "policy", "rbac.authorization.k8s.io"],
            "resources": ["jobs", "pods", "services", "statefulsets", "endpointslices", "poddisruptionbudgets",
                          "rolebindings", "serviceaccounts"],
            "verbs": ["get", "list", "watch"],
        },
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "create", "update"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["get", "create", "patch"]},
    ]  # fmt: skip
    kubectl("create", "serviceaccount", "operator", "-n", namespace)
    apply(role(namespace, rules))
    kubectl(
        "create",
        "rolebinding",
        "operator",
        "-n",
        namespace,
        "--role=operator",
        f"--serviceaccount={namespace}:operator",
    )
    token = kubectl("create", "token", "operator", "-n", namespace).strip()
    config = yaml.safe_load(Path(glue_cluster.environment["KUBECONFIG"]).read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    limited = tmp_path / "limited"
    limited.write_text(json.dumps(config))

    process = operator(kubeconfig=str(limited))
    process.through_first_pass()
    apply(run("r", namespace))
    said = eventually("the condition", lambda: condition(get(namespace, "trainingruns", "r"), "Reconciling"))
    said = eventually(
        "the reason",
        lambda: (c := condition(get(namespace, "trainingruns", "r"), "Reconciling"))["reason"] == "Forbidden" and c,
    )
    assert 'cannot create resource "jobs"' in said["message"]
    eventually("the event", lambda: items(namespace, "events", "--field-selector=reason=Forbidden"))
    apply(role(namespace, [*rules, {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}]))
    eventually("made", lambda: ready(get(namespace, "trainingruns", "r")) == "True", seconds=90)


def role(namespace: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "operator", "namespace": namespace},
        "rules": rules,
    }
