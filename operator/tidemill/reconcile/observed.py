"""What a reconcile can see: the informer's indices and two outside measurements, all as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tidemill.build.settings import BuildSettings
from tidemill.contract.results import Progress

Object = Mapping[str, Any]
"""A trimmed Kubernetes object (apiVersion, kind, metadata without managedFields, spec, status); never modified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReading:
    """Scores of one policy's deployment as Prometheus gave them, at the last evaluations in steps of the interval."""

    evaluated_at: datetime
    samples: float = 0.0
    """Sampled requests in the newest window."""
    scores: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)
    """(metric, feature) → scores, oldest first; evaluations without data, or with fewer samples than minSamples, are NaN."""
    error: str | None = None
    """Why there is no reading: Prometheus unreachable, or its answer an error."""


class Observed(Protocol):
    """Reads from the indices; never I/O. Implemented by runtime.indices and by the fake cluster of the tests."""

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object, or None when the cache does not have it."""

    def owned(self, uid: str, kind: str) -> Sequence[Object]:
        """The objects of a kind whose controller has this UID, sorted by name."""

    def select(self, kind: str, namespace: str, facet: str, value: str) -> Sequence[Object]:
        """The objects of a kind with a facet of this value (see facets.py), sorted by name."""

    def names(self, kind: str, namespace: str, facet: str, value: str) -> Sequence[str]:
        """The names of what `select` would give, without looking at them."""

    def number_of(self, kind: str, namespace: str, facet: str, value: str) -> int:
        """How many `select` would give: the cost does not grow with the number."""

    def progress(self, namespace: str, pod: str) -> Progress | None:
        """What the task in a running pod said last."""

    def absent(self, kind: str) -> str | None:
        """Why objects of a kind that not every cluster has cannot be made here, with the way out; None when they can."""

    def drift(self, namespace: str, policy: str) -> DriftReading | None:
        """The newest scores for a DriftPolicy, None before the first evaluation."""


API_INTERVAL = 15.0
"""Seconds until what waits for an API (see Observed.absent) looks for it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The moment and the installation, given to every reconcile."""

    now: datetime
    settings: BuildSettings
