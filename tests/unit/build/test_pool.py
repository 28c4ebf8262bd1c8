"""The server pods of a pool: Pod Security restricted, one token, sizes and names within their limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.rolebinding import agent_role_binding
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.build.statefulset import pool_name, pool_selector, pool_statefulset
from tidemill.build.triton import quantity_bytes
from tidemill.contract.names import NAME_LIMIT

SETTINGS = BuildSettings(
    images=Images(worker="w", trainer="t", serving="serving:1", triton="triton:2", pull_secrets=("pull",)),
    store=Store(bucket="b", endpoint="http://store:8333"),
    pod_labels={"team": "a", "tidemill.dev/servingpool": "not mine"},
)


def pod(**spec: Any) -> dict[str, Any]:
    pool = ServingPool.model_validate(
        {"kind": "ServingPool", "metadata": {"name": "cpu", "namespace": "ml"}, "spec": spec}
    )
    found: dict[str, Any] = pool_statefulset(pool, SETTINGS)["spec"]["template"]
    return found


def containers(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in (*spec["initContainers"], *spec["containers"])}


@pytest.mark.parametrize("runtime", ["CPU", "NVIDIA"])
def test_every_container_is_restricted(runtime: str) -> None:
    spec = pod(runtime=runtime)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(spec).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert container["resources"]["limits"]["memory"]
    assert all(set(v) <= {"name", "emptyDir", "projected"} for v in spec["volumes"]), "no host path"


def test_only_the_agent_has_a_token() -> None:
    spec = pod()["spec"]
    assert spec["automountServiceAccountToken"] is False
    holders = [n for n, c in containers(spec).items() if any(m["name"] == "token" for m in c["volumeMounts"])]
    assert holders == ["agent"]
    assert containers(spec)["agent"]["restartPolicy"] == "Always"


def test_every_mount_has_its_volume() -> None:
    spec = pod()["spec"]
    names = {v["name"] for v in spec["volumes"]}
    assert {m["name"] for c in containers(spec).values() for m in c["volumeMounts"]} == names


def test_runtimes_differ_in_image_backends_and_gpu() -> None:
    cpu, gpu = pod()["spec"], pod(runtime="NVIDIA", resources={"gpu": {"count": 2}})["spec"]
    assert containers(cpu)["triton"]["image"] == "serving:1"
    assert "--backend-directory=/opt/tidemill/backends" in containers(cpu)["triton"]["command"]
    assert containers(gpu)["triton"]["image"] == "triton:2"
    assert not any(a.startswith("--backend-directory") for a in containers(gpu)["triton"]["command"])
    assert containers(gpu)["triton"]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert containers(gpu)["agent"]["image"] == "serving:1"


def test_the_tap_is_bounded_in_bytes() -> None:
    env = {e["name"]: e.get("value") for e in containers(pod(tap={"segmentLimit": "1Gi"})["spec"])["triton"]["env"]}
    assert env["TIDEMILL_TAP_MAX_BYTES"] == str(1 << 30)
    assert quantity_bytes("256Mi") == 268435456
    with pytest.raises(ValueError, match="256M"):
        quantity_bytes("256M")


def test_labels_of_the_installation_never_hide_those_that_select() -> None:
    labels = pod()["metadata"]["labels"]
    assert labels["team"] == "a"
    assert pool_selector("cpu").items() <= labels.items()


@pytest.mark.parametrize("length", [1, 40, 47, 48, 63])
def test_revisions_of_a_long_named_pool_still_fit_a_label(length: int) -> None:
    name = pool_name("a" * length)
    assert len(name) <= 52
    assert name != pool_name("a" * (length - 1) + "b")


def test_the_agents_role_is_the_installations() -> None:
    pool = ServingPool.model_validate({"metadata": {"name": "cpu", "namespace": "ml"}, "spec": {}})
    binding = agent_role_binding(pool, SETTINGS)
    assert binding["roleRef"]["name"] == "tidemill-agent"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "tidemill-agent-cpu", "namespace": "ml"}]


@pytest.mark.parametrize("name", ["cpu", "p" * 63])
def test_another_role_is_another_binding(name: str) -> None:
    """roleRef is immutable: an apply of another role under the same name is refused for ever."""
    pool = ServingPool.model_validate({"metadata": {"name": name, "namespace": "ml"}, "spec": {}})
    roles: list[tuple[Literal["ClusterRole", "Role"], str]]
    roles = [("ClusterRole", "tidemill-agent"), ("Role", "tidemill-agent"), ("Role", "other-agent")]
    bindings = [
        agent_role_binding(pool, replace(SETTINGS, agent_role_kind=kind, agent_role_name=role)) for kind, role in roles
    ]
    assert [(b["roleRef"]["kind"], b["roleRef"]["name"]) for b in bindings] == roles
    names = {b["metadata"]["name"] for b in bindings}
    assert len(names) == len(roles)
    assert all(len(n) <= NAME_LIMIT for n in names)
    assert len({b["subjects"][0]["name"] for b in bindings}) == 1
