"""NetworkPolicies and monitors of tasks and servers; what the notes say when there are none."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.contract.names import LABEL_PEERS

from .conftest import ROOT, Render

HERE = "networkPolicy.workloads.namespaces={team-a}"
EXTRA = "networkPolicy.workloads.egress[0].ports[0].port=9000"


def policy(manifests: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [m for m in manifests if m["kind"] == "NetworkPolicy" and m["metadata"]["name"] == name]
    spec: dict[str, Any] = found["spec"]
    return spec


def ports(rules: list[dict[str, Any]]) -> list[int]:
    return [p["port"] for rule in rules for p in rule["ports"]]


def test_names_are_resolved_at_the_ports_that_are_set(render: Render) -> None:
    manifests = render("--set", HERE, "--set", "networkPolicy.dns.ports={53,5353}")
    for name in ("tidemill", "tidemill-tasks", "tidemill-servers"):
        names = policy(manifests, name)["egress"][0]["ports"]
        assert [(p["port"], p["protocol"]) for p in names] == [
            (port, protocol) for port in (53, 5353) for protocol in ("UDP", "TCP")
        ]


@pytest.mark.parametrize("name", ["tidemill-tasks", "tidemill-servers"])
def test_more_egress_is_for_tasks_and_servers(render: Render, name: str) -> None:
    assert 9000 not in ports(policy(render("--set", HERE), name)["egress"])
    assert 9000 in ports(policy(render("--set", HERE, "--set", EXTRA), name)["egress"])


def test_without_readers_of_metrics_a_task_is_the_operators_alone(render: Render) -> None:
    """As the value's description says."""
    manifests = render("--set", HERE)
    assert "from" not in policy(manifests, "tidemill")["ingress"][0]
    assert "from" not in policy(manifests, "tidemill-servers")["ingress"][1]
    (reader,) = policy(manifests, "tidemill-tasks")["ingress"][0]["from"]
    assert reader["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    named = render("--set", HERE, "--set", "networkPolicy.metricsFrom[0].podSelector.matchLabels.a=b")
    assert len(policy(named, "tidemill-tasks")["ingress"][0]["from"]) == 2


def test_pods_of_distributed_trainings_speak_to_each_other(render: Render) -> None:
    """At whatever port PyTorch picks; what tasks may do besides stays as it is."""
    peers = {"podSelector": {"matchExpressions": [{"key": LABEL_PEERS, "operator": "Exists"}]}}
    spec = policy(render("--set", HERE), "tidemill-peers")
    assert {"podSelector": spec["podSelector"]} == peers
    assert spec["ingress"] == [{"from": [peers]}]
    assert spec["egress"] == [{"to": [peers]}]


def test_tasks_are_scraped(render: Render) -> None:
    manifests = render("--api-versions=monitoring.coreos.com/v1/PodMonitor", "--set", "watchNamespaces={team-a}")
    (monitor,) = [
        m["spec"] for m in manifests if m["metadata"]["name"] == "tidemill-tasks" and m["kind"] == "PodMonitor"
    ]
    assert monitor["selector"] == {"matchExpressions": [{"key": "tidemill.dev/task", "operator": "Exists"}]}
    assert monitor["namespaceSelector"] == {"matchNames": ["team-a"]}
    assert [e["port"] for e in monitor["podMetricsEndpoints"]] == ["progress"]


@pytest.mark.parametrize(("setting", "warned"), [("workers=3", True), (HERE, False), ("watchNamespaces={a}", False)])
def test_the_notes_warn_of_tasks_without_a_policy(helm: Path, tmp_path: Path, setting: str, warned: bool) -> None:
    """`helm install` alone shows notes, and needs a cluster: here they are rendered as if they were a manifest."""
    chart = shutil.copytree(ROOT / "charts/tidemill", tmp_path / "tidemill")
    text = (chart / "templates/NOTES.txt").read_text()
    (chart / "templates/notes.yaml").write_text("notes: |\n" + textwrap.indent(text, "  "))
    command: list[str | Path] = [
        helm,
        "template",
        "tidemill",
        chart,
        "--show-only=templates/notes.yaml",
        "--set",
        setting,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    notes = yaml.safe_load(done.stdout)["notes"]
    assert "rollout status" in notes
    assert ("NO NETWORKPOLICY GUARDS TASKS AND SERVERS" in notes) == warned
