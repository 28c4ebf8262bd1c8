"""Suspending and resuming a Job or JobSet: the one field of what runs that the operator changes."""

from __future__ import annotations

from tidemill.reconcile.jobs import is_finished
from tidemill.reconcile.observed import Object
from tidemill.reconcile.plan import Patch

SUSPEND_MANAGER = "tidemill-suspend"
"""Field manager of spec.suspend. Applying the whole Job again would fail on its immutable pod template as soon as
the operator's images change."""


def suspend_patch(job: Object, *, suspend: bool) -> tuple[Patch, ...]:
    """The patch that makes a live Job or JobSet suspended or not; none when it is so already, or has ended."""
    if is_finished(job) or bool((job.get("spec") or {}).get("suspend")) == suspend:
        return ()
    meta = job["metadata"]
    manifest = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "spec": {"suspend": suspend},
    }
    return (Patch(manifest=manifest, field_manager=SUSPEND_MANAGER),)
