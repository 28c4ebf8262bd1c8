"""Drift scores: asked from Prometheus for all policies together, kept by deployment and artifact, read policy by policy.

The last evaluations come from one range query in steps of the interval, so counting consecutive drifts needs no state.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client.core import Metric
from pydantic import ValidationError

from tidemill.api.durations import format_time, seconds
from tidemill.api.v1alpha1.driftpolicy import DriftMetric, DriftPolicySpec
from tidemill.contract.metrics import DRIFT_SCORE, short_digest
from tidemill.reconcile.observed import DriftReading, Object
from tidemill.reconcile.plan import Key
from tidemill.runtime import promql
from tidemill.runtime.indices import Indices
from tidemill.runtime.metrics import Metrics, family
from tidemill.runtime.prometheus import Prometheus, PrometheusError

TICK = 1.0
_log = logging.getLogger("tidemill.drift")
Group = tuple[int, int]
"""Interval and window in seconds: policies that share them are evaluated together."""
Target = tuple[str, str, str, str]
"""Namespace, deployment, version and the artifact's short digest."""


@dataclass(slots=True)
class _Evaluation:
    at: int
    steps: tuple[int, ...]
    samples: dict[Target, dict[int, float]] = field(default_factory=dict)
    scores: dict[Target, dict[tuple[str, str], dict[int, float]]] = field(default_factory=dict)
    error: str | None = None


class DriftScores:
    """Evaluates on the policies' intervals and answers what a policy's reading is."""

    def __init__(
        self,
        indices: Indices,
        prometheus: Prometheus | None,
        *,
        namespaces: tuple[str, ...],
        enqueue: Callable[[Key], None],
        active: Callable[[], bool],
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._indices = indices
        self._prometheus = prometheus
        self._namespaces = namespaces
        self._enqueue = enqueue
        self._active = active
        self._metrics = metrics
        self._clock = clock
        self._evaluations: dict[Group, _Evaluation] = {}
        self._outcomes: dict[Key, object] = {}
        metrics.collect(self._export)

    def reading(self, namespace: str, policy: str) -> DriftReading | None:
        """The newest scores of a policy: those of the artifact that its Deployment serves now."""
        obj = self._indices.get("DriftPolicy", namespace, policy)
        spec = _spec(obj) if obj is not None else None
        if spec is None:
            return None
        evaluation = self._evaluations.get(_group(spec))
        if evaluation is None:
            return None
        at = datetime.fromtimestamp(evaluation.at, UTC)
        if evaluation.error is not None:
            return DriftReading(evaluated_at=at, error=evaluation.error)
        target, since = self._target(namespace, spec)
        if target is None:
            return DriftReading(evaluated_at=at)
        if format_time(at) < since:  # it says nothing of this artifact, not even that there are no requests
            return None
        steps = evaluation.steps[-spec.for_consecutive :]
        samples = evaluation.samples.get(target, {})
        # The score of a few requests is noise: such a step is no evidence, neither now nor among the consecutive ones.
        enough = {step for step in steps if round(samples.get(step, 0.0)) >= spec.min_samples}
        wanted = {(m.metric, f) for m in spec.monitors for f in m.features}
        everything = {m.metric for m in spec.monitors if not m.features}
        scores = {
            name: tuple(values.get(step, math.nan) if step in enough else math.nan for step in steps)
            for name, values in evaluation.scores.get(target, {}).items()
            if name in wanted or name[0] in everything
        }
        return DriftReading(evaluated_at=at, samples=samples.get(evaluation.at, 0.0), scores=scores)

    async def run(self) -> None:
        """Evaluate until cancelled. Without a Prometheus there is nothing to do."""
        if self._prometheus is None:
            return
        async with self._prometheus:
            while True:
                if self._active():
                    await self.evaluate_due()
                await asyncio.sleep(TICK)

    async def evaluate_due(self) -> None:
        """Evaluate the groups whose time has come. Times are multiples of the interval, whenever the operator started."""
        now = self._clock()
        groups: dict[Group, list[tuple[Object, DriftPolicySpec]]] = {}
        for entry in self._indices.all("DriftPolicy"):
            if (spec := _spec(entry.obj)) is not None:
                groups.setdefault(_group(spec), []).append((entry.obj, spec))
        self._evaluations = {group: value for group, value in self._evaluations.items() if group in groups}
        for group, policies in groups.items():
            at = int(now // group[0]) * group[0]
            last = self._evaluations.get(group)
            if last is None or last.at < at:
                self._evaluations[group] = await self._evaluate(group, at, [spec for _, spec in policies])
                self._announce(policies)

    async def _evaluate(self, group: Group, at: int, specs: list[DriftPolicySpec]) -> _Evaluation:
        interval, window = group
        count = max(spec.for_consecutive for spec in specs)
        result = _Evaluation(at, tuple(at - interval * back for back in range(count - 1, -1, -1)))
        match = promql.matcher(namespaces=self._namespaces, deployments={spec.deployment for spec in specs})
        wanted: list[DriftMetric] = sorted({monitor.metric for spec in specs for monitor in spec.monitors})
        try:
            for labels, values in await self._ask(promql.samples(window=window, match=match), result, interval):
                result.samples[_labels(labels)] = values
            for metric in wanted:
                expression = promql.score(metric, window=window, match=match)
                for labels, values in await self._ask(expression, result, interval):
                    of_target = result.scores.setdefault(_labels(labels), {})
                    of_target[metric, labels.get("feature", "")] = values
        except PrometheusError as error:
            result.error = str(error)
            _log.warning("drift scores (interval %d s, window %d s): %s", interval, window, error)
        return result

    async def _ask(
        self, expression: str, evaluation: _Evaluation, step: int
    ) -> list[tuple[dict[str, str], dict[int, float]]]:
        if self._prometheus is None:
            raise PrometheusError("no Prometheus is set: prometheus.url")
        try:
            answer = await self._prometheus.query_range(
                expression, start=evaluation.steps[0], end=evaluation.at, step=step
            )
        except PrometheusError:
            self._metrics.drift_queries.labels("error").inc()
            raise
        self._metrics.drift_queries.labels("ok").inc()
        return answer

    def _announce(self, policies: Iterable[tuple[Object, DriftPolicySpec]]) -> None:
        """Queue the policies that something has changed for, and those that drift."""
        for obj, spec in policies:
            key = Key(kind="DriftPolicy", namespace=obj["metadata"]["namespace"], name=obj["metadata"]["name"])
            reading = self.reading(key.namespace, key.name)
            if reading is None:
                continue
            drifting, outcome = _outcome(reading, spec)
            if drifting or self._outcomes.get(key) != outcome:
                self._outcomes[key] = outcome
                self._enqueue(key)

    def _target(self, namespace: str, spec: DriftPolicySpec) -> tuple[Target | None, str]:
        """The artifact that the Deployment's servers answer with, the last loaded of several, and since when one does."""
        deployment = self._indices.get("Deployment", namespace, spec.deployment)
        serving = ((deployment or {}).get("status") or {}).get("serving")
        if deployment is None or not serving:
            return None, ""
        placements = self._indices.owned(deployment["metadata"]["uid"], "ModelPlacement")
        answers = [(placement.get("status") or {}).get("serving") or {} for placement in placements]
        loaded = sorted(
            (served["loadedAt"], served["digest"])
            for served in answers
            if (served.get("modelVersion"), served.get("version")) == (serving["name"], serving["version"])
        )
        if not loaded:
            return None, ""
        digest = loaded[-1][1]
        since = next(at for at, of in loaded if of == digest)
        return (namespace, spec.deployment, str(serving["version"]), short_digest(digest)), since

    def _export(self) -> Iterable[Metric]:
        labels = ("namespace", "policy", "deployment", "feature", "metric")
        values: list[tuple[tuple[str, ...], float]] = []
        for entry in self._indices.all("DriftPolicy") if self._active() else ():
            meta, spec = entry.obj["metadata"], _spec(entry.obj)
            reading = self.reading(meta["namespace"], meta["name"]) if spec else None
            if spec is None or reading is None:
                continue
            for (metric, feature), series in reading.scores.items():
                if series and not math.isnan(series[-1]):
                    values.append(((meta["namespace"], meta["name"], spec.deployment, feature, metric), series[-1]))
        return [family(DRIFT_SCORE, "Newest drift score by policy, feature and metric.", labels, values)]


def _spec(obj: Object) -> DriftPolicySpec | None:
    try:
        return DriftPolicySpec.model_validate(obj["spec"])
    except (KeyError, ValidationError):  # the driver reports it in a condition
        return None


def _group(spec: DriftPolicySpec) -> Group:
    return max(1, seconds(spec.interval)), max(1, seconds(spec.window))


def _labels(labels: Mapping[str, str]) -> Target:
    namespace, deployment, version, digest = (
        labels.get(n, "") for n in ("namespace", "deployment", "version", "digest")
    )
    return namespace, deployment, version, digest


def _outcome(reading: DriftReading, spec: DriftPolicySpec) -> tuple[bool, object]:
    """Whether a monitor drifts, and what would make a difference to the status: the worst scores, to two digits."""
    if reading.error is not None:
        return False, reading.error
    enough = reading.samples >= spec.min_samples
    drifting = False
    worst: list[tuple[str, str, str]] = []
    for monitor in spec.monitors:
        chosen = [
            (series[-1], feature)
            for (metric, feature), series in reading.scores.items()
            if metric == monitor.metric and (not monitor.features or feature in monitor.features)
            and series and not math.isnan(series[-1])
        ]  # fmt: skip
        score, feature = max(chosen, default=(math.nan, ""))
        drifting |= enough and score >= monitor.threshold
        worst.append((monitor.name, feature, f"{score:.2g}"))
    return drifting, (enough, tuple(worst))
