"""The API server refuses: the namespace ends, rights are taken away, a quota is used up."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

import yaml
from tests.e2e.apiserver import eventually, kubectl, temporary_namespace
from tests.e2e.cluster import Cluster
from tests.faults.stage import Stage
from tests.faults.state import State

AWAY_SECONDS = 8


def test_a_namespace_ends_under_load(stage: Stage) -> None:
    with temporary_namespace(f"fault-{secrets.token_hex(4)}") as other:
        operator = stage.start("--watch-namespaces", f"{stage.namespace},{other}")
        stage.submit(wait=False)
        stage.create(*({**o, "metadata": {**o["metadata"], "namespace": other}} for o in stage.manifests()))
        eventually("work has begun there", lambda: State.read(other, kinds=("Job",)).objects["Job"])
        kubectl("delete", "namespace", other, "--wait=false")
        eventually("it is gone", lambda: not kubectl("get", "ns", other, "--ignore-not-found"), seconds=120)
        converged = stage.converge()
        operator.alive()
        position = stage.cluster.audit_position()
        time.sleep(3)  # a hot loop would show by now
        there = list(stage.cluster.audited(lambda e: e.get("objectRef", {}).get("namespace") == other, since=position))
        assert len([e for e in there if e["verb"] != "watch"]) <= 3, "it goes on asking for what is gone"
        kubectl("create", "namespace", other)
    stage.verify("a namespace is deleted under load", converged=converged)


def test_rights_are_taken_away_and_given_back(stage: Stage, plane: Cluster, tmp_path: Path) -> None:
    space = stage.namespace
    kubectl("create", "serviceaccount", "operator", "-n", space)
    give = ("create", "rolebinding", "operator", "-n", space, "--clusterrole=admin-of-all",
            f"--serviceaccount={space}:operator")  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(_role()))
    kubectl(*give)
    config = yaml.safe_load(Path(plane.environment["KUBECONFIG"]).read_text())
    token = kubectl("create", "token", "operator", "-n", space).strip()
    for user in config["users"]:
        user["user"] = {"token": token}
    limited = tmp_path / "limited"
    limited.write_text(json.dumps(config))

    operator = stage.start(kubeconfig=str(limited))
    stage.submit(wait=False)
    kubectl("delete", "rolebinding", "operator", "-n", space)
    time.sleep(AWAY_SECONDS)
    assert stage.state().unsettled(), "the load was not done before the rights were gone"
    kubectl(*give)
    given = time.monotonic()
    stage.converge()
    operator.alive()
    stage.verify("all rights taken away for 8 s", converged=round(time.monotonic() - given, 1))


def test_a_quota_is_used_up_and_raised(stage: Stage) -> None:
    space = stage.namespace
    kubectl("create", "quota", "jobs", "--hard=count/jobs.batch=2", "-n", space)
    eventually(
        "the quota counts", lambda: json.loads(kubectl("get", "quota", "jobs", "-n", space, "-o", "json"))["status"]
    )
    stage.start()
    stage.submit(wait=False)
    refused = eventually(
        "a refusal", lambda: [u for u in stage.state().unsettled() if "QuotaExceeded" in u or "quota" in u]
    )
    assert "raise the quota" in refused[0]
    raised = '{"spec":{"hard":{"count/jobs.batch":"100000"}}}'
    kubectl("patch", "quota", "jobs", "-n", space, "--type=merge", "-p", raised)
    at = time.monotonic()
    stage.converge()
    stage.verify("quota of two Jobs, raised", converged=round(time.monotonic() - at, 1))


def _role() -> dict[str, object]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "admin-of-all"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
    }
