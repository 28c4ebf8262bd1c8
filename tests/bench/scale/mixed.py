"""Scenario: a cluster that holds a size of mixed kinds. It is filled, applied again, changed, left alone; its operator is
restarted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.bench.scale.churn import Churn
from tests.bench.scale.gitops import synced
from tests.bench.scale.heartbeat import heartbeat
from tests.bench.scale.load import Population, create, namespaces
from tests.bench.scale.restarts import failover, idle, other_settings, restart
from tests.bench.scale.stage import Stage, Step, rate, say, staged

from tidemill.kube.client import Client
from tidemill.kube.lists import pages
from tidemill.kube.resources import WATCHABLE
from tidemill.runtime.seed import selector


async def mixed(
    cluster: str,
    folder: Path,
    *,
    size: int,
    spaces: int,
    churn_rate: float,
    churn_seconds: float,
    idle_seconds: float,
    patience: float,
) -> dict[str, Any]:
    """All figures of a size."""
    async with staged(cluster, folder) as stage:
        population = Population.of(size, namespaces(spaces))
        stage.bench.make_namespaces(*population.spaces)
        operator = stage.start("operator")
        await asyncio.to_thread(operator.until_first_pass)
        result: dict[str, Any] = {
            "kubernetes": stage.bench.version(),
            "mix": population.counts(),
            "namespaces": spaces,
            "memoryEmpty": operator.memory(),
        }
        say(f"{size} objects: {population.counts()}")
        result["fill"] = await _fill(stage, population, patience)
        result["objects"] = await _count(stage.client)
        say(f"filled in {result['fill']['settledSeconds']} s; all applied again")
        result["gitops"] = await synced(stage, population, patience=patience)
        if (found := await _count(stage.client)) != result["objects"]:
            raise RuntimeError(f"a sync of what was there has changed what is there: {result['objects']} to {found}")
        again = result["gitops"]
        say(
            f"{again['writes']} writes in {again['lookedAtSeconds']} s; {churn_rate:g} changes/s for {churn_seconds:g} s"
        )
        with heartbeat() as held_up:
            result["churn"] = await Churn(stage).run(churn_rate, churn_seconds)
        result["churn"]["idleProcess"] = held_up
        await stage.tracker.until_settled(population.counts(), patience)
        await stage.tracker.until_quiet()
        say(f"spec to status {result['churn']['specToStatus']}; idle for {idle_seconds:g} s")
        result["idle"] = await idle(stage, idle_seconds)
        say(f"{result['idle']['writes']} writes; restart")
        result["restart"] = await restart(stage, patience=patience)
        say(f"first pass after {result['restart']['firstPassSeconds']} s; failover")
        result["failover"] = await failover(stage, patience=patience)
        say(f"first pass {result['failover']['firstPassSeconds']} s after SIGKILL; other settings")
        result["settings"] = await other_settings(
            stage, pools=spaces, deployments=population.deployments, patience=patience
        )
        say(f"the last dependant after {result['settings']['lastDeploymentSeconds']} s")
        return result


async def _fill(stage: Stage, population: Population, patience: float) -> dict[str, Any]:
    """Kind after kind, each all at once, waiting for none but the servers."""
    step = await Step.begin(stage)
    await create(stage.client, population.make_pools())
    await stage.tracker.until_settled({"ServingPool": len(population.spaces)}, patience)
    for made in (population.make_datasets, population.make_runs, population.make_deployments, population.make_policies):
        await create(stage.client, made())
    seconds = await stage.tracker.until_settled(population.counts(), patience) - step.began
    await stage.tracker.until_quiet()
    size = sum(population.counts().values())
    return {"settledSeconds": round(seconds, 2), "settledPerSecond": rate(size, seconds), **await step.end(size)}


async def _count(client: Client) -> dict[str, int]:
    """How many objects of each kind there are that the operator holds."""
    counts = {}
    for kind, type_ in WATCHABLE.items():
        found = pages(client, type_, selector=selector(kind), metadata_only=True, limit=1000)
        counts[kind] = sum([len(items) async for items, _ in found])
    return counts
