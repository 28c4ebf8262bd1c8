"""Gauges: read from the parts when Prometheus asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prometheus_client.core import Metric

from tidemill.kube.resources import OURS
from tidemill.runtime.evaluations import evaluations
from tidemill.runtime.indices import Indices
from tidemill.runtime.metrics import Metrics, family
from tidemill.runtime.queue import Load, WorkQueue
from tidemill.runtime.shards import Shard

_NO_LIMIT = 2**60
"""Version 1 says "no limit" by a number of this size."""


def register_gauges(
    metrics: Metrics,
    *,
    queue: WorkQueue,
    indices: Indices,
    shard: Shard,
    leading: Callable[[], bool],
    synced: Callable[[], bool],
    watch_age: Callable[[], float],
    resync_age: Callable[[], float],
    first_pass: Callable[[], float],
    lease: str,
    lease_transitions: Callable[[], int | None],
) -> None:
    """Register them all."""
    metrics.gauge("tidemill_leader", "1 while this process holds the lease.", lambda: float(leading()))
    metrics.gauge("tidemill_synced", "1 when every kind was listed.", lambda: float(synced()))
    metrics.gauge("tidemill_watch_age_seconds", "Age of the most silent watch.", watch_age)
    metrics.gauge("tidemill_resync_age_seconds", "Time since the last resync.", resync_age)
    metrics.gauge("tidemill_first_pass_seconds", "Start to the end of the first pass; 0 before.", first_pass)
    metrics.collect(
        lambda: [*_queue(queue), _objects(indices), _shard(shard), _transitions(lease, lease_transitions())]
    )
    # Of the leader alone: an alert on a metric shall not come once for every operator.
    metrics.collect(lambda: evaluations(indices) if leading() else [])
    limit = memory_limit()
    if limit is not None:
        metrics.gauge("tidemill_memory_limit_bytes", "Memory that the container may use.", lambda: limit)


def memory_limit(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The control group's limit (version 2, or 1), or None when there is none."""
    for file in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _NO_LIMIT:
            return int(text)
    return None


def _transitions(lease: str, count: int | None) -> Metric:
    """No sample while it is not known: a zero in between would look like many changes."""
    values = [] if count is None else [((lease,), float(count))]
    return family("tidemill_lease_transitions", "Times that the lease has changed hands.", ("lease",), values)


def _queue(queue: WorkQueue) -> list[Metric]:
    loads = {kind: Load() for kind in OURS} | queue.load()

    def by_kind(name: str, text: str, value: Callable[[Load], float]) -> Metric:
        return family(f"tidemill_queue_{name}", text, ("kind",), [((k,), value(load)) for k, load in loads.items()])

    return [
        by_kind("depth", "Resources that wait for a worker.", lambda load: load.waiting),
        by_kind("oldest_seconds", "Longest wait for a worker.", lambda load: load.oldest),
        by_kind("delayed", "Resources that wait for their time.", lambda load: load.delayed),
        by_kind("failing", "Resources whose last reconcile failed.", lambda load: load.failing),
        by_kind("running", "Reconciles that run.", lambda load: load.running),
    ]


def _objects(indices: Indices) -> Metric:
    """Children are only counted: there are several times as many, and a scrape shall not look at each."""
    counts: dict[tuple[str, ...], float] = {}
    for kind, number in indices.count().items():
        if kind not in OURS:
            counts[kind, ""] = number
    for kind in OURS:
        for entry in indices.all(kind):
            counts[kind, entry.state] = counts.get((kind, entry.state), 0) + 1
    return family("tidemill_objects", "Objects by kind and Ready condition.", ("kind", "ready"), counts.items())


def _shard(shard: Shard) -> Metric:
    labels = str(shard.index), str(shard.count)
    return family("tidemill_shard_info", "Which share of the namespaces is its own.", ("index", "count"), [(labels, 1)])
