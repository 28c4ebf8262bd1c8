"""Who wrote which fields of an object: what `metadata.managedFields` says, which is read as it arrives and not kept.

A child is created by POST, which costs the API server half of what a server-side apply does, and applied from then on when
it changes. The fields of a POST belong to the operation Update, and an apply removes only what belongs to Apply: so they are
handed over before the first apply, as kubectl does for what it once made by `kubectl create` (client-go, util/csaupgrade).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.contract.names import FIELD_MANAGER


def edited_by_others(raw: Mapping[str, Any]) -> bool:
    """Whether somebody else wrote fields outside metadata and status after we last wrote the object.

    Jobs and JobSets are left out: their template is immutable, and queueing systems rightly change `suspend`.
    """
    if raw["kind"] in ("Job", "JobSet"):
        return False
    ours, theirs = "", ""
    for entry in raw["metadata"].get("managedFields") or ():
        if entry.get("subresource"):
            continue
        at = entry.get("time") or ""
        if entry.get("manager") == FIELD_MANAGER:
            ours = max(ours, at)
        elif any(key not in ("f:metadata", "f:status") for key in entry.get("fieldsV1") or ()):
            theirs = max(theirs, at)
    return bool(ours) and theirs >= ours  # times are in whole seconds: in doubt it is applied once more


def posted_entry(raw: Mapping[str, Any]) -> int | None:
    """Where the fields are that a POST of ours left with the operation Update; None when there are none."""
    for index, entry in enumerate(raw["metadata"].get("managedFields") or ()):
        if (entry.get("manager"), entry.get("operation"), entry.get("subresource")) == (FIELD_MANAGER, "Update", None):
            return index
    return None


def hand_over(index: int) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) that gives those fields to the operation Apply, or fails when they are no longer there."""
    entry = f"/metadata/managedFields/{index}"
    return [
        {"op": "test", "path": f"{entry}/manager", "value": FIELD_MANAGER},
        {"op": "test", "path": f"{entry}/operation", "value": "Update"},
        {"op": "replace", "path": f"{entry}/operation", "value": "Apply"},
    ]
