"""Shards in the chart: a Deployment each, and rights on Leases that outlive a change of their number."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.runtime.options import validate
from tidemill.runtime.shards import Shard

from .conftest import ROOT, Render

SHARD = "tidemill.dev/shard"


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == kind}


def test_one_shard_looks_as_if_there_were_none(render: Render) -> None:
    manifests = render("--set", "replicas=2")
    (deployment,) = of_kind(manifests, "Deployment").values()
    assert deployment["metadata"]["name"] == "tidemill"
    assert SHARD not in deployment["spec"]["selector"]["matchLabels"]
    assert SHARD not in deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"] == ["--config=/etc/tidemill/settings.yaml"]
    assert list(of_kind(manifests, "PodDisruptionBudget")) == ["tidemill"]
    rules = of_kind(manifests, "Role")["tidemill-operator-lease"]["rules"]
    assert [rule.get("resourceNames") for rule in rules] == [None, ["tidemill-operator"]]


def test_each_shard_is_a_deployment_with_its_standbys(render: Render) -> None:
    manifests = render("--set", "shards=3,replicas=2,extraArgs={--workers=4}")
    deployments = of_kind(manifests, "Deployment")
    assert list(deployments) == ["tidemill-0", "tidemill-1", "tidemill-2"]
    config = of_kind(manifests, "ConfigMap")["tidemill"]["data"]["settings.yaml"]
    assert validate(yaml.safe_load(config)).shard.count == 3
    for index, deployment in enumerate(deployments.values()):
        spec = deployment["spec"]
        assert spec["replicas"] == 2
        assert spec["strategy"]["type"] == "RollingUpdate", "who waits for another count is ready all the same"
        labels = spec["template"]["metadata"]["labels"]
        assert labels[SHARD] == str(index)
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        spread = spec["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
        assert spread == spec["selector"]["matchLabels"]
        flags = spec["template"]["spec"]["containers"][0]["args"]
        assert flags == ["--config=/etc/tidemill/settings.yaml", f"--shard-index={index}", "--workers=4"]
        budget = of_kind(manifests, "PodDisruptionBudget")[f"tidemill-{index}"]["spec"]
        assert budget["selector"]["matchLabels"] == spec["selector"]["matchLabels"]


def test_metrics_and_network_policy_reach_all_shards(render: Render) -> None:
    manifests = render("--set", "shards=2", "--api-versions=monitoring.coreos.com/v1/ServiceMonitor")
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind(manifests, "Deployment").values()]
    selectors = [
        of_kind(manifests, "Service")["tidemill-metrics"]["spec"]["selector"],
        of_kind(manifests, "NetworkPolicy")["tidemill"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert len(pods) == 2
    assert all(selector.items() <= labels.items() for selector in selectors for labels in pods)
    service = of_kind(manifests, "Service")["tidemill-metrics"]["metadata"]["labels"]
    monitor = of_kind(manifests, "ServiceMonitor")["tidemill"]["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= service.items()


def test_leases_of_every_count_can_still_be_given_back(render: Render) -> None:
    rules = of_kind(render("--set", "shards=2"), "Role")["tidemill-operator-lease"]["rules"]
    assert rules[0] == {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "list"]}
    wanted = {Shard(index, count).lease_name("tidemill-operator") for count in range(1, 17) for index in range(count)}
    assert set(rules[1]["resourceNames"]) == wanted
    assert rules[1]["verbs"] == ["get", "update"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("shards=2,leaderElection.enabled=false", "shards: more than one needs leaderElection.enabled"),
        ("shards=2,watchNamespaces={a}", "shards: they share out all namespaces, not watchNamespaces"),
        ("shards=0", "shards"),
        ("shards=17", "shards"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(helm: Path, setting: str, said: str) -> None:
    command = [str(helm), "template", "tidemill", str(ROOT / "charts/tidemill"), "--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert said in done.stderr
