"""Metrics of what Deployments use on the newest version of the Dataset that each is judged on."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from tidemill.api.durations import parse_time
from tidemill.contract.metrics import EVALUATION_METRIC, EVALUATION_OUTCOME, EVALUATION_TIME
from tidemill.reconcile.facets import EVALUATED
from tidemill.reconcile.observed import Object
from tidemill.runtime.indices import Indices
from tidemill.runtime.metrics import family

LABELS = ("namespace", "deployment", "model", "version", "dataset")
Values = list[tuple[tuple[str, ...], float]]


def evaluations(indices: Indices) -> list[Metric]:
    """Of every Deployment that has been evaluated, the newest one. A failed one has no metrics: only its outcome is told."""
    metrics: Values = []
    outcomes: Values = []
    times: Values = []
    for obj in _evaluated(indices):
        results = ((obj.get("status") or {}).get("evaluation") or {}).get("results") or ()
        for newest in results[:1]:
            meta, spec = obj["metadata"], obj["spec"]
            version = str(newest["modelVersion"]["version"])
            about = (meta["namespace"], meta["name"], spec["model"]["name"], version, spec["evaluation"]["dataset"])
            metrics += [((*about, name), value) for name, value in (newest.get("metrics") or {}).items()]
            outcomes.append(((*about, newest["outcome"]), 1.0))
            times.append((about, parse_time(newest["at"]).timestamp()))
    return [
        family(EVALUATION_METRIC, "Metric of what is in use, on the newest data.", (*LABELS, "metric"), metrics),
        family(EVALUATION_OUTCOME, "1 for how the newest evaluation ended.", (*LABELS, "outcome"), outcomes),
        family(EVALUATION_TIME, "When the newest evaluation ended.", LABELS, times),
    ]


def _evaluated(indices: Indices) -> Iterator[Object]:
    """Only Deployments that ask for it are unpacked: a scrape shall not cost more for the others."""
    for entry in indices.all("Deployment"):
        if any(facet == EVALUATED for facet, _ in entry.facets):
            yield entry.obj
