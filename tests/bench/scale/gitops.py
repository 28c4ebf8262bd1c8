"""Scenario: a GitOps controller applies at once, by server-side apply, everything that users wrote, with a label more."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.bench.scale.load import Population, apply
from tests.bench.scale.stage import Stage, Step

MANAGER = "gitops"
LABELS = {"synced": "yes"}


async def synced(stage: Stage, population: Population, *, patience: float) -> dict[str, Any]:
    """Seconds until all was applied, and until the operator has looked at all of it; what it wrote, which should be nothing."""
    objects = [{**o, "metadata": {**o["metadata"], "labels": LABELS}} for o in population.everything()]
    step = await Step.begin(stage)
    await apply(stage.client, objects, manager=MANAGER)
    applied = time.monotonic() - step.began
    end = time.monotonic() + patience
    while await asyncio.to_thread(stage.operator.metric, "tidemill_queue_depth") > 0:
        if time.monotonic() > end:
            raise TimeoutError(f"the queue is not empty {patience:.0f} s after the sync")
        await asyncio.sleep(0.2)
    looked_at = time.monotonic() - step.began
    await stage.tracker.until_quiet()
    writes = stage.writes(step.mark)
    cost = await step.end(len(objects))
    return {
        "objects": len(objects),
        "appliedSeconds": round(applied, 2),
        "lookedAtSeconds": round(looked_at, 2),
        "writes": sum(writes.values()),
        "writesByCall": writes,
        "reconcilesPerObject": cost["reconcilesPerObject"],
        "cpuMsPerObject": cost["cpuMsPerObject"],
        "memory": cost["memory"],
    }
