"""The charts: linted, rendered, refused when values are wrong, installed and upgraded on a real cluster."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.apiserver import ROOT, Api, eventually, kubectl, proxied, temporary_namespace
from tests.e2e.cluster import Cluster
from tests.e2e.helm import MONITORING, dry_run, helm, installed, kinds, may, must, one, render, wrong_permissions

from tidemill.runtime import options

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
CHARTS = sorted(p.parent.name for p in ROOT.glob("charts/*/Chart.yaml"))
REFUSED: list[dict[str, Any]] = yaml.safe_load((HERE / "values.yaml").read_text())
PERMISSIONS: list[tuple[str, str, bool]] = yaml.safe_load((HERE / "permissions.yaml").read_text())
RBAC, LEASES = "rbac.authorization.k8s.io", "leases.coordination.k8s.io"
TWO = ("--set", "watchNamespaces={team-a,team-b}")
MANY = (
    "--set", "replicas=3,podLabels.team=ml,priorityClassName=system-cluster-critical,store.endpoint=http://s3.x:9000",
    "--set", "prometheus.url=https://p.x,prometheus.tokenSecret.name=t,prometheus.caSecret.name=c",
    "--set", "images.pullSecrets={s},nodeSelector.zone=a,extraArgs={--log-level=debug},annotations.a=b",
    "--set", "networkPolicy.workloads.namespaces={team-c},networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.a=b",
)  # fmt: skip


@pytest.fixture(scope="module")
def spaces(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Namespaces: the operator's own and two that it may watch, under Pod Security `restricted`; the CRDs are there."""
    del cluster
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds/")
    names = {role: f"{role}-{secrets.token_hex(3)}" for role in ("system", "watched", "other")}
    with ExitStack() as stack:
        for name in names.values():
            stack.enter_context(temporary_namespace(name))
            kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield names


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[Api]:
    del cluster
    with proxied() as api:
        yield api


@pytest.fixture(scope="module")
def images(cluster: Cluster) -> tuple[str, ...]:
    """The operator's image on the cluster, as values."""
    repository, _, digest = cluster.image("operator").partition("@")
    return ("--set", f"images.operator.repository={repository},images.operator.digest={digest}")


@pytest.mark.parametrize("chart", CHARTS)
def test_lint(cluster: Cluster, chart: str) -> None:
    del cluster
    assert "0 chart(s) failed" in must("lint", "--strict", f"charts/{chart}")


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: f"{c['chart']}-{c['set']}")
def test_wrong_values_are_refused(cluster: Cluster, case: dict[str, Any]) -> None:
    del cluster
    done = helm("template", "x", f"charts/{case['chart']}", "--set", case["set"])
    assert done.returncode, done.stdout[:500]
    for text in case["says"]:
        assert text in done.stderr


@pytest.mark.parametrize(
    ("chart", "arguments"),
    [
        ("tidemill", ()),
        ("tidemill", TWO),
        ("tidemill", MANY),
        ("tidemill-crds", ()),
        ("tidemill-demo", ()),
        ("tidemill-demo", ("--set", "namespaces={team-a},prometheus.alertmanager.enabled=true")),
    ],
)
def test_the_api_server_takes_what_is_rendered(spaces: dict[str, str], chart: str, arguments: tuple[str, ...]) -> None:
    replaced = {"team-a": spaces["watched"], "team-b": spaces["other"], "team-c": spaces["other"]}
    text = json.dumps(render(chart, *arguments, namespace=spaces["system"]))
    for old, new in replaced.items():
        text = text.replace(old, new)
    said = dry_run(json.loads(text))
    assert "(server dry run)" in said
    assert "Warning" not in said


@pytest.mark.parametrize("arguments", [(), TWO, MANY], ids=["plain", "namespaces", "many"])
def test_the_operator_understands_its_settings(cluster: Cluster, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    del cluster
    config = one(render("tidemill", *arguments), "ConfigMap", "tidemill")["data"]["settings.yaml"]
    (tmp_path / "settings.yaml").write_text(config)
    loaded = options.load([f"--config={tmp_path / 'settings.yaml'}"], {})
    assert loaded.watch.namespaces == (("team-a", "team-b") if arguments == TWO else ())
    assert loaded.children.agent_role_kind == ("Role" if arguments == TWO else "ClusterRole")
    assert loaded.children.agent_role_name == "tidemill-agent"
    assert loaded.lease.name == "tidemill-operator"
    if arguments == MANY:
        assert loaded.prometheus.token_file == "/etc/tidemill/prometheus-token/token"
        assert loaded.images.pull_secrets == ("s",)
        assert loaded.children.pod_labels == {"team": "ml"}


def test_a_namespaced_install_has_no_cluster_roles(cluster: Cluster) -> None:
    del cluster
    manifests = render("tidemill", *TWO)
    assert not kinds(manifests) & {"ClusterRole", "ClusterRoleBinding"}
    roles = {(m["metadata"]["namespace"], m["metadata"]["name"]) for m in manifests if m["kind"] == "Role"}
    for namespace in ("team-a", "team-b"):
        assert {(namespace, name) for name in ("tidemill", "tidemill-agent", "tidemill-view", "tidemill-edit")} <= roles


def test_network_policies(cluster: Cluster) -> None:
    del cluster
    manifests = render("tidemill", *TWO, "--set", "prometheus.url=http://p.x:9090,store.endpoint=http://s.x:8333")
    found: dict[str, set[str]] = {}
    for meta in (m["metadata"] for m in manifests if m["kind"] == "NetworkPolicy"):
        found.setdefault(meta["namespace"], set()).add(meta["name"])
    workloads = {"tidemill-tasks", "tidemill-peers", "tidemill-servers"}
    assert found == {"tidemill-system": {"tidemill"}, "team-a": workloads, "team-b": workloads}
    policy = one(manifests, "NetworkPolicy", "tidemill")["spec"]
    assert [p["port"] for rule in policy["ingress"] for p in rule["ports"]] == [8080]
    assert [p["port"] for rule in policy["egress"] for p in rule["ports"]] == [53, 53, 443, 6443, 8080, 9090]
    tasks = next(m for m in manifests if m["metadata"]["name"] == "tidemill-tasks")["spec"]
    assert [p["port"] for rule in tasks["egress"] for p in rule["ports"]] == [53, 53, 8333]
    assert kinds(render("tidemill", "--set", "networkPolicy.enabled=false")).isdisjoint({"NetworkPolicy"})


def test_a_disruption_budget_and_spreading_come_with_replicas(cluster: Cluster) -> None:
    del cluster
    assert "PodDisruptionBudget" not in kinds(render("tidemill"))
    manifests = render("tidemill", "--set", "replicas=2")
    assert one(manifests, "PodDisruptionBudget", "tidemill")["spec"]["maxUnavailable"] == 1


def test_monitors_and_rules_come_with_their_crds(cluster: Cluster) -> None:
    del cluster
    wanted = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
    assert kinds(render("tidemill")).isdisjoint(wanted)
    manifests = render("tidemill", *(f"--api-versions={version}" for version in MONITORING))
    assert wanted <= kinds(manifests)
    (group,) = one(manifests, "PrometheusRule", "tidemill")["spec"]["groups"]
    alerts = {rule["alert"]: rule for rule in group["rules"]}
    assert {"TidemillOperatorDown", "TidemillReconcileErrors", "TidemillModelDrift", "TidemillSamplesDropped"} <= set(
        alerts
    )
    assert "{{ $labels.kind }}" in alerts["TidemillReconcileErrors"]["annotations"]["summary"]
    for rule in alerts.values():
        assert rule["annotations"]["description"]
    assert all(e["honorLabels"] for e in one(manifests, "ServiceMonitor", "tidemill")["spec"]["endpoints"])


def test_another_configuration_restarts_the_operator(cluster: Cluster) -> None:
    del cluster

    def checksum(*arguments: str) -> str:
        template = one(render("tidemill", *arguments), "Deployment", "tidemill")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/settings"])

    assert checksum() == checksum()
    assert checksum() != checksum("--set", "workers=3")


def test_install_upgrade_and_permissions(api: Api, spaces: dict[str, str], images: tuple[str, ...]) -> None:
    system, other = spaces["system"], spaces["other"]
    release = f"t{secrets.token_hex(3)}"
    name = f"{release}-tidemill"
    account = f"{system}:{name}"
    wait = ("--wait", "--timeout", "120s")
    with installed(release, "tidemill", system, *images, *wait):
        lease = json.loads(kubectl("get", "lease", f"{name}-operator", "-n", system, "-o", "json"))
        assert lease["spec"]["holderIdentity"].startswith(name)
        assert not wrong_permissions(api, account, other, PERMISSIONS)
        assert may(api, account, "bind", f"clusterroles.{RBAC}", name=f"{name}-agent")
        assert not may(api, account, "bind", f"clusterroles.{RBAC}", name="cluster-admin")
        assert may(api, account, "list", LEASES, system)
        assert may(api, account, "update", LEASES, system, name=f"{name}-operator")
        assert not may(api, account, "update", LEASES, system, name="another")
        assert not may(api, account, "create", LEASES, other)
        assert not may(api, account, "list", LEASES, other)

        uids = ("get", "pods", "-n", system, "-o", "jsonpath={.items[*].metadata.uid}")
        before = kubectl(*uids)
        must("upgrade", release, "charts/tidemill", "-n", system, *images, "--set", "replicas=2,workers=4", *wait)
        eventually("other settings restart the operator", lambda: not set(before.split()) & set(kubectl(*uids).split()))
        kubectl("get", "poddisruptionbudget", name, "-n", system)
        assert "workers: 4" in kubectl("get", "configmap", name, "-n", system, "-o", "jsonpath={.data}")
        kubectl("get", "networkpolicy", name, "-n", system)
    left = kubectl(
        "get",
        "all,configmap,role,rolebinding,networkpolicy",
        "-n",
        system,
        "-o",
        "name",
        "-l",
        f"app.kubernetes.io/instance={release}",
    )
    assert not [line for line in left.split() if "/" in line and not line.startswith("pod/")]


def test_users_get_the_kinds_by_the_clusters_own_roles(api: Api, spaces: dict[str, str]) -> None:
    release, here = f"t{secrets.token_hex(3)}", spaces["watched"]
    with installed(release, "tidemill", spaces["system"], "--set", "replicas=0"):
        for role in ("view", "edit"):
            kubectl("create", "serviceaccount", role, "-n", here)
            binding = ("--clusterrole", role, "--serviceaccount", f"{here}:{role}")
            kubectl("create", "rolebinding", role, "-n", here, *binding)
        viewer, editor = f"{here}:view", f"{here}:edit"
        eventually("view is aggregated", lambda: may(api, viewer, "get", "datasets.tidemill.dev", here), seconds=20)
        eventually("edit is aggregated", lambda: may(api, editor, "create", "datasets.tidemill.dev", here), seconds=20)
        assert not may(api, viewer, "create", "datasets.tidemill.dev", here)
        assert may(api, editor, "patch", "servingpools.tidemill.dev/scale", here)
        assert may(api, editor, "get", "modelplacements.tidemill.dev", here)
        assert not may(api, editor, "create", "modelplacements.tidemill.dev", here)
        assert not may(api, editor, "patch", "datasets.tidemill.dev/status", here)


def test_a_namespaced_install_reaches_only_its_namespaces(
    api: Api, spaces: dict[str, str], images: tuple[str, ...]
) -> None:
    system, watched, other = spaces["system"], spaces["watched"], spaces["other"]
    release = f"t{secrets.token_hex(3)}"
    name = f"{release}-tidemill"
    account = f"{system}:{name}"
    arguments = (*images, "--set", f"watchNamespaces={{{watched}}}", "--wait", "--timeout", "120s")
    with installed(release, "tidemill", system, *arguments):
        assert not wrong_permissions(api, account, watched, PERMISSIONS)
        asked = [(verb, resource, where) for verb, resource, _ in PERMISSIONS for where in (other, "")]
        anywhere = [question for question in asked if may(api, account, *question)]
        assert not anywhere
        assert may(api, account, "bind", f"roles.{RBAC}", watched, name=f"{name}-agent")
        assert kubectl("get", "networkpolicy", "-n", watched, "-o", "name").split() == [
            f"networkpolicy.networking.k8s.io/{name}-peers",
            f"networkpolicy.networking.k8s.io/{name}-servers",
            f"networkpolicy.networking.k8s.io/{name}-tasks",
        ]


def test_the_crds_stay_when_their_chart_goes(spaces: dict[str, str]) -> None:
    crd = "servingpools.tidemill.dev"
    release, namespace = f"t{secrets.token_hex(3)}", spaces["system"]
    with installed(release, "tidemill-crds", namespace, "--take-ownership"):
        owner = kubectl("get", "crd", crd, "-o", "jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-name}")
        assert owner == release
        uid = kubectl("get", "crd", crd, "-o", "jsonpath={.metadata.uid}")
    assert kubectl("get", "crd", crd, "-o", "jsonpath={.metadata.uid}") == uid


def test_the_demos_store_and_prometheus(cluster: Cluster, spaces: dict[str, str], images: tuple[str, ...]) -> None:
    """The bucket is there and the operator is scraped, its own labels kept."""
    system = spaces["system"]
    release = f"t{secrets.token_hex(3)}"
    demo = [*images]
    for name in ("store", "prometheus"):
        repository, _, digest = cluster.image(name).partition("@")
        demo += ["--set", f"images.{name}.repository={repository},images.{name}.digest={digest}"]
    wait = ("--wait", "--timeout", "180s")
    with (
        installed("demo", "tidemill-demo", system, *demo, "--set", f"namespaces={{{spaces['watched']}}}", *wait),
        installed(release, "tidemill", system, *images, *wait),
    ):
        keys = [
            kubectl("get", "secret", "tidemill-store", "-n", spaces[n], "-o", "jsonpath={.data}")
            for n in ("system", "watched")
        ]
        assert keys[0] == keys[1] != ""
        buckets = "echo s3.bucket.list | weed shell -master=127.0.0.1:9333 -filer=127.0.0.1:8888"
        assert "tidemill" in kubectl("exec", "-n", system, "deployment/store", "--", "sh", "-c", buckets)
        query = f"/api/v1/namespaces/{system}/services/prometheus:9090/proxy/api/v1/query?query=tidemill_leader"

        def scraped() -> list[dict[str, Any]]:
            return list(json.loads(kubectl("get", "--raw", query))["data"]["result"])

        (sample,) = eventually("the operator's metrics", scraped, seconds=60)
        assert sample["metric"]["namespace"] == system
        assert sample["value"][1] == "1"
        must(
            "upgrade",
            "demo",
            "charts/tidemill-demo",
            "-n",
            system,
            *demo,
            "--set",
            f"namespaces={{{spaces['watched']}}}",
        )
        assert kubectl("get", "secret", "tidemill-store", "-n", system, "-o", "jsonpath={.data}") == keys[0]
