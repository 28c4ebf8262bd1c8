"""managedFields: who edited an object, and what a POST left to hand over."""

from __future__ import annotations

from typing import Any

from tidemill.kube.managedfields import edited_by_others, hand_over, posted_entry


def managed(*entries: tuple[str, str, str | None]) -> dict[str, Any]:
    fields = [
        {"manager": m, "operation": o, **({"subresource": s} if s else {}), "fieldsV1": {"f:spec": {}}}
        for m, o, s in entries
    ]
    return {"kind": "Service", "metadata": {"managedFields": fields}}


def test_an_edit_by_somebody_else_is_seen_in_managed_fields() -> None:
    def service(*entries: tuple[str, str, str, str]) -> dict[str, Any]:
        obj: dict[str, Any] = {"kind": "Service", "metadata": {}}
        obj["metadata"]["managedFields"] = [
            {"manager": m, "time": t, "subresource": s, "fieldsV1": {f: {}}} for m, t, s, f in entries
        ]
        return obj

    ours = ("tidemill", "2026-01-01T00:00:05Z", "", "f:spec")
    assert not edited_by_others(service(ours))
    assert edited_by_others(service(ours, ("kubectl-edit", "2026-01-01T00:00:06Z", "", "f:spec")))
    assert not edited_by_others(service(ours, ("kubectl-edit", "2026-01-01T00:00:04Z", "", "f:spec")))
    assert not edited_by_others(service(ours, ("kcm", "2026-01-01T00:00:06Z", "status", "f:status")))
    assert not edited_by_others(service(ours, ("kubectl", "2026-01-01T00:00:06Z", "", "f:metadata")))


def test_an_edit_in_the_same_second_counts() -> None:
    obj: dict[str, Any] = {"kind": "Service", "metadata": {}}
    obj["metadata"]["managedFields"] = [
        {"manager": m, "time": "2026-01-01T00:00:05Z", "fieldsV1": {"f:spec": {}}}
        for m in ("tidemill", "kubectl-patch")
    ]
    assert edited_by_others(obj)


def test_the_fields_of_a_post_are_found_among_those_of_others() -> None:
    assert posted_entry(managed(("tidemill", "Update", None))) == 0
    assert posted_entry(managed(("tidemill", "Apply", None), ("kubectl", "Update", None))) is None
    status, spec = ("tidemill", "Update", "status"), ("tidemill", "Update", None)
    assert posted_entry(managed(("kubectl", "Update", None), status, spec)) == 2
    assert posted_entry({"kind": "Service", "metadata": {}}) is None


def test_a_hand_over_is_tested_before_it_changes_anything() -> None:
    patch = hand_over(2)
    assert [step["op"] for step in patch] == ["test", "test", "replace"]
    assert {step["path"].rpartition("/")[0] for step in patch} == {"/metadata/managedFields/2"}
