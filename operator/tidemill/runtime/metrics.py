"""Metrics of the operator. One registry a process, made by the application, so that tests can run several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """All counters and histograms; gauges are read when Prometheus asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.reconciles = Counter(
            "tidemill_reconciles_total", "Reconciles by kind and outcome.", ("kind", "outcome"), registry=self.registry
        )
        self.seconds = Histogram(
            "tidemill_reconcile_seconds", "Duration of a reconcile with its writes.", ("kind",),
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.errors = Counter(
            "tidemill_reconcile_errors_total", "Failed reconciles by kind and reason.", ("kind", "reason"),
            registry=self.registry,
        )  # fmt: skip
        self.requests = Counter(
            "tidemill_api_requests_total", "Requests to the API server by verb, kind and code.",
            ("verb", "kind", "code"), registry=self.registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "tidemill_api_request_seconds", "Duration of a request to the API server.", ("verb",),
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.throttle = Histogram(
            "tidemill_client_throttle_seconds", "Waits for the client's own rate limit, of requests that had to wait.",
            buckets=_BUCKETS, registry=self.registry,
        )  # fmt: skip
        self.writes = Counter(
            "tidemill_writes_total", "What reconciling wrote.", ("kind", "action"), registry=self.registry
        )
        self.watch_events = Counter(
            "tidemill_watch_events_total", "Events of the watches by kind; news: yes, no, or foreign (of another shard).",
            ("kind", "news"), registry=self.registry,
        )  # fmt: skip
        self.resync_fixes = Counter(
            "tidemill_resync_fixes_total", "What the resync had to repair.", ("kind", "fix"), registry=self.registry
        )
        self.events_dropped = Counter(
            "tidemill_events_dropped_total", "Kubernetes events that were not sent.", registry=self.registry
        )
        self.drift_queries = Counter(
            "tidemill_drift_queries_total", "Queries to Prometheus by outcome.", ("outcome",), registry=self.registry
        )

    def api_call(self, verb: str, kind: str, code: str, seconds: float) -> None:
        """The client's hook."""
        self.requests.labels(verb, kind, code).inc()
        self.request_seconds.labels(verb).observe(seconds)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read when Prometheus asks."""
        self.collect(lambda: [_single(name, text, read())])

    def collect(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Metrics that are made when Prometheus asks."""
        self.registry.register(_Reader(read))

    def total(self, counter: Counter, **labels: str) -> float:
        """The sum of a counter over the children that have these labels: for logs and tests."""
        return sum(
            sample.value
            for metric in counter.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
        )


class _Reader(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


def family(name: str, text: str, labels: Iterable[str], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """A gauge with labels."""
    result = GaugeMetricFamily(name, text, labels=list(labels))
    for names, value in values:
        result.add_metric(list(names), value)
    return result


def _single(name: str, text: str, value: float) -> Any:
    return GaugeMetricFamily(name, text, value=value)
