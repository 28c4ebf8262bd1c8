"""Gauges: read from the parts when Prometheus asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import Metric

from tidemill.kube.resources import WATCHABLE
from tidemill.runtime.indices import Indices
from tidemill.runtime.metrics import Metrics, family
from tidemill.runtime.queue import WorkQueue


def register_gauges(
    metrics: Metrics,
    *,
    queue: WorkQueue,
    indices: Indices,
    leading: Callable[[], bool],
    synced: Callable[[], bool],
    watch_age: Callable[[], float],
    resync_age: Callable[[], float],
    first_pass: Callable[[], float],
) -> None:
    """Register them all."""
    metrics.gauge("tidemill_queue_depth", "Resources that wait for a worker.", lambda: len(queue))
    metrics.gauge("tidemill_queue_delayed", "Resources that wait for their time.", lambda: queue.delayed)
    metrics.gauge("tidemill_queue_failing", "Resources whose last reconcile failed.", lambda: queue.failing)
    metrics.gauge("tidemill_queue_oldest_seconds", "Longest wait for a worker.", queue.oldest)
    metrics.gauge("tidemill_queue_running", "Reconciles that run.", lambda: queue.running)
    metrics.gauge("tidemill_leader", "1 while this process holds the lease.", lambda: float(leading()))
    metrics.gauge("tidemill_synced", "1 when every kind was listed.", lambda: float(synced()))
    metrics.gauge("tidemill_watch_age_seconds", "Age of the most silent watch.", watch_age)
    metrics.gauge("tidemill_resync_age_seconds", "Time since the last resync.", resync_age)
    metrics.gauge("tidemill_first_pass_seconds", "Start to the end of the first pass; 0 before.", first_pass)
    metrics.collect(lambda: [_objects(indices)])


def _objects(indices: Indices) -> Metric:
    counts: dict[tuple[str, ...], float] = {}
    for kind in WATCHABLE:
        for entry in indices.all(kind):
            conditions: Iterable[dict[str, str]] = (entry.obj.get("status") or {}).get("conditions") or ()
            ready = next((c.get("status", "") for c in conditions if c.get("type") == "Ready"), "")
            counts[kind, ready] = counts.get((kind, ready), 0) + 1
    return family("tidemill_objects", "Objects by kind and Ready condition.", ("kind", "ready"), counts.items())
