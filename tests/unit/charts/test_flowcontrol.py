"""Who is in which priority level of the API server, and when the chart makes one."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Render

NAMESPACED = ("--set", "watchNamespaces={team-a}")
MADE = {
    ("PriorityLevelConfiguration", "tidemill-system-tidemill"),
    ("FlowSchema", "tidemill-system-tidemill"),
    ("FlowSchema", "tidemill-system-tidemill-lease"),
}


def flow_control(manifests: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (m["kind"], m["metadata"]["name"]): m["spec"]
        for m in manifests
        if m["apiVersion"] == "flowcontrol.apiserver.k8s.io/v1"
    }


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        ((), True),
        (("--set", "flowControl.enabled=false"), False),
        # Cluster-wide objects: whoever installs for some namespaces need not be allowed to make them.
        (NAMESPACED, False),
        ((*NAMESPACED, "--set", "flowControl.enabled=true"), True),
    ],
    ids=["plain", "off", "namespaced", "namespaced-on"],
)
def test_it_is_made_where_cluster_wide_objects_are(render: Render, arguments: tuple[str, ...], made: bool) -> None:
    assert set(flow_control(render(*arguments))) == (MADE if made else set())


def test_namespaces_take_turns_and_the_lease_stands_apart(render: Render) -> None:
    found = flow_control(render("--set", "flowControl.queues=2,flowControl.nominalConcurrencyShares=7"))
    limited = found["PriorityLevelConfiguration", "tidemill-system-tidemill"]["limited"]
    assert limited["nominalConcurrencyShares"] == 7
    assert limited["limitResponse"]["queuing"] == {"queues": 2, "handSize": 2, "queueLengthLimit": 64}
    own, lease = (found["FlowSchema", f"tidemill-system-tidemill{suffix}"] for suffix in ("", "-lease"))
    assert own["distinguisherMethod"] == {"type": "ByNamespace"}
    assert lease["priorityLevelConfiguration"] == {"name": "leader-election"}
    assert lease["matchingPrecedence"] < own["matchingPrecedence"], "the first match counts"
    for schema in (own, lease):
        (rule,) = schema["rules"]
        assert [s["serviceAccount"] for s in rule["subjects"]] == [{"name": "tidemill", "namespace": "tidemill-system"}]
    assert lease["rules"][0]["resourceRules"][0]["resources"] == ["leases"]


def test_another_service_account_is_matched_by_its_name(render: Render) -> None:
    found = flow_control(render("--set", "serviceAccount.create=false,serviceAccount.name=mine"))
    subjects = found["FlowSchema", "tidemill-system-tidemill"]["rules"][0]["subjects"]
    assert subjects[0]["serviceAccount"]["name"] == "mine"


def test_without_a_lease_there_is_no_flow_for_it(render: Render) -> None:
    found = flow_control(render("--set", "leaderElection.enabled=false"))
    assert set(found) == MADE - {("FlowSchema", "tidemill-system-tidemill-lease")}
