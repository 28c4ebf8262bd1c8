"""What was sampled, counted by the baseline's bins, for each artifact that was loaded; and its text for Prometheus.

There may be hundreds of thousands of series on a pod, so every series' name and labels are rendered once, when the
version is loaded, and a scrape only appends the numbers. All bins start at 0: `increase()` needs a first value.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tidemill.contract import metrics
from tidemill.contract.model import Baseline, FeatureBaseline, Signature
from tidemill.contract.names import PREDICTION_PREFIX
from tidemill_agent.binning import Array, Bins, Counts, bins_of
from tidemill_agent.tap import Batch

KEEP_SECONDS = 600.0
"""A version's series outlive its unload, so that Prometheus scrapes the last counts."""

_HELP = {
    metrics.FEATURE_BIN_TOTAL: ("counter", "Sampled values by the baseline's bin."),
    metrics.FEATURE_MISSING_TOTAL: ("counter", "Sampled values that were missing."),
    metrics.FEATURE_VALUES_TOTAL: ("counter", "All sampled values, missing ones included."),
    metrics.SAMPLED_REQUESTS_TOTAL: ("counter", "Sampled requests that were counted."),
    metrics.BASELINE_BIN_RATIO: ("gauge", "The bin's share in the training split."),
    metrics.BASELINE_MISSING_RATIO: ("gauge", "The share of missing values in the training split."),
}


def series(name: str, labels: dict[str, str]) -> str:
    """A sample's name and labels, with the space before its value."""
    inner = ",".join(f'{key}="{escape(value)}"' for key, value in labels.items())
    return f"{name}{{{inner}}} "


def escape(value: str) -> str:
    """A label's value as the text format wants it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def header(name: str, kind: str, text: str) -> str:
    """The lines before a family's samples."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


@dataclass(slots=True)
class FeatureCounter:
    """One feature or prediction of one version."""

    tensor: str
    output: bool
    bins: Bins
    counts: Counts
    bin_series: list[str]
    missing_series: str
    values_series: str
    baseline: dict[str, str]
    """The baseline's samples by family: they never change."""
    missing: int = 0

    def add(self, values: Array) -> None:
        """Count the values of a batch."""
        counts, missing = self.bins.count(values)
        self.counts += counts
        self.missing += missing

    def render(self, family: str) -> str:
        """The samples of one family."""
        if family == metrics.FEATURE_BIN_TOTAL:
            pairs = zip(self.bin_series, self.counts.tolist(), strict=True)
            return "".join(f"{name}{count}\n" for name, count in pairs)
        if family == metrics.FEATURE_MISSING_TOTAL:
            return f"{self.missing_series}{self.missing}\n"
        if family == metrics.FEATURE_VALUES_TOTAL:
            return f"{self.values_series}{int(self.counts.sum()) + self.missing}\n"
        return self.baseline[family]


@dataclass(slots=True)
class VersionCounters:
    """All features and predictions of one artifact."""

    requests_series: str
    features: list[FeatureCounter]
    requests: int = 0
    unloaded_at: float | None = None

    def add(self, batch: Batch) -> None:
        """Count a batch of sampled requests."""
        self.requests += len(batch)
        for feature in self.features:
            column = (batch.outputs if feature.output else batch.inputs).get(feature.tensor)
            if column is not None:
                feature.add(batch.rows(column))

    def render(self, family: str) -> Iterator[str]:
        """The samples of one family."""
        if family == metrics.SAMPLED_REQUESTS_TOTAL:
            yield f"{self.requests_series}{self.requests}\n"
            return
        for feature in self.features:
            yield feature.render(family)


@dataclass(slots=True)
class Counters:
    """Every artifact that was loaded on this pod, by (deployment, version, digest).

    The number alone does not tell: it comes back with another artifact when a Deployment changes its model or its variant,
    or when the highest version is deleted and trained anew. The old counts must not meet the new baseline.
    """

    namespace: str
    _versions: dict[tuple[str, int, str], VersionCounters] = field(default_factory=dict)
    _answers: dict[tuple[str, int], str] = field(default_factory=dict)
    """The digest that answers under a version's number: samples carry the number only."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def track(
        self, deployment: str, version: int, digest: str, signature: Signature, baseline: Baseline | None
    ) -> None:
        """Have an artifact's bins before it answers its first request. One that is known goes on where it was."""
        with self._lock:
            self._answers.setdefault((deployment, version), digest)
            known = self._versions.get((deployment, version, digest))
            if known is not None:
                known.unloaded_at = None
                return
            labels = {
                metrics.LABEL_NAMESPACE: self.namespace,
                metrics.LABEL_DEPLOYMENT: deployment,
                metrics.LABEL_VERSION: str(version),
                metrics.LABEL_DIGEST: metrics.short_digest(digest),
            }
            self._versions[deployment, version, digest] = VersionCounters(
                requests_series=series(metrics.SAMPLED_REQUESTS_TOTAL, labels),
                features=[_feature(f, signature, labels) for f in _described(baseline)],
            )

    def answers(self, deployment: str, version: int, digest: str) -> None:
        """This artifact answers under the version's number from now on; until then an earlier one did."""
        with self._lock:
            self._answers[deployment, version] = digest

    def untrack(self, deployment: str, keep: int | None, now: float) -> None:
        """A deployment's artifacts but the one that answers as version `keep` are no longer loaded."""
        with self._lock:
            for (name, version, digest), counters in self._versions.items():
                kept = version == keep and digest == self._answers.get((name, version))
                if name == deployment and not kept and counters.unloaded_at is None:
                    counters.unloaded_at = now

    def forget(self, now: float) -> None:
        """Drop the series of artifacts that were unloaded long ago."""
        with self._lock:
            gone = [k for k, c in self._versions.items() if c.unloaded_at and now - c.unloaded_at > KEEP_SECONDS]
            for deployment, version, digest in gone:
                del self._versions[deployment, version, digest]
                if self._answers.get((deployment, version)) == digest:
                    del self._answers[deployment, version]

    def add(self, batch: Batch) -> None:
        """Count a batch. Samples of a version that this process never saw loaded have no bins to go into."""
        with self._lock:
            digest = self._answers.get((batch.model, batch.version), "")
            counters = self._versions.get((batch.model, batch.version, digest))
            if counters is not None:
                counters.add(batch)

    def render(self) -> str:
        """All families as text. Not locked while it renders: a scrape may be a batch behind, never wrong."""
        with self._lock:
            versions = [self._versions[key] for key in sorted(self._versions)]
        pieces: list[str] = []
        for family, (kind, text) in _HELP.items():
            pieces.append(header(family, kind, text))
            for counters in versions:
                pieces.extend(counters.render(family))
        return "".join(pieces)


def _described(baseline: Baseline | None) -> Sequence[FeatureBaseline]:
    return (*baseline.features, *baseline.predictions) if baseline else ()


def _feature(baseline: FeatureBaseline, signature: Signature, labels: dict[str, str]) -> FeatureCounter:
    output = baseline.name.startswith(PREDICTION_PREFIX)
    tensor = baseline.name.removeprefix(PREDICTION_PREFIX) if output else _input_of(baseline.name, signature)
    labels = {**labels, metrics.LABEL_FEATURE: baseline.name}
    binned = [{**labels, metrics.LABEL_BIN: name} for name in baseline.bins()]
    total = sum(baseline.counts)
    ratios = [count / total if total else 0.0 for count in baseline.counts]
    missing = baseline.missing / (total + baseline.missing) if total + baseline.missing else 0.0
    return FeatureCounter(
        tensor=tensor,
        output=output,
        bins=bins_of(baseline),
        counts=np.zeros(len(baseline.counts), dtype=np.int64),
        bin_series=[series(metrics.FEATURE_BIN_TOTAL, names) for names in binned],
        missing_series=series(metrics.FEATURE_MISSING_TOTAL, labels),
        values_series=series(metrics.FEATURE_VALUES_TOTAL, labels),
        baseline={
            metrics.BASELINE_BIN_RATIO: "".join(
                f"{series(metrics.BASELINE_BIN_RATIO, names)}{ratio!r}\n"
                for names, ratio in zip(binned, ratios, strict=True)
            ),
            metrics.BASELINE_MISSING_RATIO: f"{series(metrics.BASELINE_MISSING_RATIO, labels)}{missing!r}\n",
        },
    )


def _input_of(name: str, signature: Signature) -> str:
    """Baselines are named as columns, tensors as inputs: the same for tabular models, linked by `column` for others."""
    linked = next((spec.name for spec in signature.inputs if spec.column == name), None)
    return name if linked is None or any(spec.name == name for spec in signature.inputs) else linked
