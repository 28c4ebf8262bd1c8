"""Children on a real API server: posted once, applied from then on, and nothing of ours left behind."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.e2e.apiserver import kubectl
from tests.glue.objects import get

from tidemill.kube.apply import ensure
from tidemill.kube.client import Client
from tidemill.kube.config import load
from tidemill.kube.managedfields import posted_entry
from tidemill.reconcile.plan import Child


def service(namespace: str, *ports: int, **labels: str) -> Child:
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": namespace, "labels": labels},
        "spec": {"ports": [{"name": f"p{port}", "port": port} for port in ports]},
    }
    return Child(manifest=manifest)


def test_a_posted_child_is_applied_later_and_loses_what_it_should(namespace: str) -> None:
    kubectl("create", "configmap", "owner", "-n", namespace)
    owner = get(namespace, "configmap", "owner")
    calls: list[tuple[str, str]] = []

    async def bring(child: Child) -> None:
        async with Client(load(), hook=lambda verb, _, code, __: calls.append((verb, code))) as client:
            path = f"/api/v1/namespaces/{namespace}/services/s"
            existing = await client.request("get", path, kind="Service") if calls else None
            posted = posted_entry(existing) if existing else None
            await ensure(client, child, owner=owner, existing=existing, edited=False, posted=posted)

    asyncio.run(bring(service(namespace, 80, 90, kept="yes", old="yes")))
    made: dict[str, Any] = get(namespace, "service", "s")
    kubectl("annotate", "service", "s", "-n", namespace, "theirs=stays")
    kubectl("label", "service", "s", "-n", namespace, "theirs=stays")
    asyncio.run(bring(service(namespace, 80, kept="no")))
    changed = get(namespace, "service", "s")
    assert [port["name"] for port in changed["spec"]["ports"]] == ["p80"], "a port of the POST that is wanted no more"
    labels = changed["metadata"]["labels"]
    assert (labels.get("kept"), labels.get("old"), labels.get("theirs")) == ("no", None, "stays")
    assert changed["metadata"]["annotations"]["theirs"] == "stays"
    for field in ("clusterIP", "sessionAffinity", "internalTrafficPolicy", "ipFamilies"):
        assert changed["spec"][field] == made["spec"][field], f"{field}, which the API server chose"
    asyncio.run(bring(service(namespace, 80)))
    assert "kept" not in get(namespace, "service", "s")["metadata"]["labels"]
    writes = [call for call in calls if call[0] != "get"]
    assert writes == [("create", "201"), ("patch", "200"), ("apply", "200"), ("apply", "200")], "handed over once"
