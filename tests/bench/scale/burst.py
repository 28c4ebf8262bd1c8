"""Scenario: so many TrainingRuns at once on an empty cluster, then as many Deployments of what they made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.bench.scale.load import Population, Raw, create, namespaces
from tests.bench.scale.stage import Stage, Step, created, rate, say, staged


async def burst(cluster: str, folder: Path, *, count: int, spaces: int, patience: float) -> dict[str, Any]:
    """The figures of both halves."""
    async with staged(cluster, folder) as stage:
        population = Population(spaces=namespaces(spaces), datasets=spaces, runs=count, deployments=count, policies=0)
        stage.bench.make_namespaces(*population.spaces)
        operator = stage.start("operator")
        await asyncio.to_thread(operator.until_first_pass)
        empty = operator.memory()
        await create(stage.client, [*population.make_pools(), *population.make_datasets()])
        await stage.tracker.until_settled({"ServingPool": spaces, "Dataset": spaces}, patience)
        await stage.tracker.until_quiet()
        say(f"{count} TrainingRuns at once")
        runs = await _submit(
            stage,
            list(population.make_runs()),
            made="trainingruns.tidemill.dev",
            child="jobs.batch",
            settled={"TrainingRun": count, "ModelVersion": count},
            patience=patience,
        )
        say(f"{runs['childrenPerSecond']} Jobs/s, {runs['finishedPerSecond']} finished/s; {count} Deployments at once")
        deployments = await _submit(
            stage,
            list(population.make_deployments()),
            made="deployments.tidemill.dev",
            child="modelplacements.tidemill.dev",
            settled={"Deployment": count},
            patience=patience,
        )
        say(f"{deployments['childrenPerSecond']} placements/s, {deployments['finishedPerSecond']} ready/s")
        return {
            "kubernetes": stage.bench.version(),
            "count": count,
            "namespaces": spaces,
            "pools": spaces,
            "memoryEmpty": empty,
            "trainingRuns": runs,
            "deployments": deployments,
        }


async def _submit(
    stage: Stage,
    objects: list[Raw],
    *,
    made: str,
    child: str,
    settled: dict[str, int],
    patience: float,
) -> dict[str, Any]:
    """Create all objects at once; rates of creating, of their first children, and of being finished."""
    count, kind = len(objects), objects[0]["kind"]
    step = await Step.begin(stage)
    await create(stage.client, objects)
    await stage.tracker.until_settled(settled, patience)
    last = max(stage.tracker.settled_at[kind].values())
    await stage.tracker.until_quiet()
    requests = stage.audit.since(step.mark)
    first = min(r.received for r in requests if r.verb == "create" and r.resource == made)
    submitted = created(requests, made)
    children = created(stage.requests(step.mark), child)[:count]
    return {
        "submittedPerSecond": rate(count, submitted[-1] - first),
        "childrenPerSecond": rate(len(children), children[-1] - first),
        "finishedPerSecond": rate(count, last - step.began),
        **await step.end(count),
    }
