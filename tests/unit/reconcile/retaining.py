"""Datasets with several versions, for tests of which ones stay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.property import manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import NAMESPACE
from tests.unit.reconcile.datasets import Cluster

from tidemill.api.durations import format_time
from tidemill.reconcile.plan import Key

FLIGHTS = Key(kind="Dataset", namespace=NAMESPACE, name="flights")


POLLED = {"onSourceChange": {"interval": "1h"}}


def cluster_of(retention: Raw | None, **spec: Any) -> Cluster:
    cluster = Cluster()
    cluster.create(manifests.dataset(refresh=POLLED, **({"retention": retention} if retention else {}), **spec))
    cluster.rest()
    return cluster


def versions(cluster: Cluster, number: int) -> list[str]:
    """Let so many more versions come, one an hour; all digests that there ever were, oldest first."""
    for _ in range(number):
        cluster.api.sources = f"{cluster.api.sources}+"
        cluster.at(format_time(cluster.api.now + timedelta(hours=1)))
    made: list[str] = []
    for _, event in cluster.events:
        if event.reason == "Succeeded":
            made.append(event.message.split()[2].rstrip(":"))
    return made
