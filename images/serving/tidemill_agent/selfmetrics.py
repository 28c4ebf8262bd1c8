"""The agent's metrics about itself, read from its parts at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tidemill_agent.inferencelog import InferenceLog
from tidemill_agent.monitor import Monitor
from tidemill_agent.reconciler import Reconciler
from tidemill_agent.status import Publisher


class _Parts(Collector):
    def __init__(self, reconciler: Reconciler, monitor: Monitor, publisher: Publisher, log: InferenceLog) -> None:
        self._reconciler, self._monitor, self._publisher, self._log = reconciler, monitor, publisher, log

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry need not collect once to know the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The values of now."""
        reconciler, log = self._reconciler, self._log
        yield GaugeMetricFamily("tidemill_agent_models", "Models that the server answers for.", len(reconciler.held))
        yield GaugeMetricFamily("tidemill_agent_log_buffer_bytes", "Inference-log rows waiting in memory.", log.bytes)
        for name, text, value in (
            ("loads", "Attempts to load a version.", reconciler.loads),
            ("load_failures", "Attempts to load a version that failed.", reconciler.load_failures),
            ("triton_restarts", "Times that Triton stopped answering.", self._monitor.restarts),
            ("status_writes", "Writes of a placement's status.", self._publisher.writes),
            ("log_rows_stored", "Rows stored in the inference log.", log.stored_rows),
            ("log_rows_given_up", "Rows given up because the store did not take them in time.", log.given_up_rows),
        ):
            yield CounterMetricFamily(f"tidemill_agent_{name}", text, value)


def registry(
    reconciler: Reconciler, monitor: Monitor, publisher: Publisher, inference_log: InferenceLog
) -> CollectorRegistry:
    """A registry of the agent's own metrics."""
    found = CollectorRegistry()
    found.register(_Parts(reconciler, monitor, publisher, inference_log))
    return found
