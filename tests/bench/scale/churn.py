"""Scenario: so many spec changes a second over all kinds; when is each one's status there, and when its child?

A change is of one field that is free to change while nothing else has to happen, except where the child is the point: a
Deployment's sampling is changed in its placement too, and a Dataset's input asks for a new Job.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench.scale.figures import spread
from tests.bench.scale.stage import Stage, Step
from tests.bench.scale.tracker import Name, Raw

from tidemill.build.metadata import LABEL_GENERATION
from tidemill.contract.names import LABEL_DATASET, LABEL_DEPLOYMENT
from tidemill.kube.client import MERGE_PATCH
from tidemill.kube.resources import OURS

SEED = 5
LATEST = 60.0
"""Seconds after the last change within which everything must have been answered."""

_CHANGES: dict[str, Callable[[int], Raw]] = {
    "ServingPool": lambda n: {"capacity": {"models": 900 + n % 100}},
    "Dataset": lambda n: {"inputs": [{"name": "raw", "s3": {"uri": f"s3://raw/changed/{n}.parquet"}}]},
    "TrainingRun": lambda n: {"resources": {"cpu": f"{1001 + n}m"}},
    "ModelVersion": lambda n: {"resources": {"cpu": f"{501 + n}m"}},
    "Deployment": lambda n: {"online": {"samplingPercent": 20 + (n % 8000) / 100}},
    "DriftPolicy": lambda n: {"minSamples": 501 + n},
}


@dataclass(slots=True)
class _Change:
    kind: str
    generation: int
    answered: float
    child: str | None
    """What its child must say: the generation of a Dataset's Job, a placement's sampling."""
    status_at: float | None = None
    child_at: float | None = None

    @property
    def over(self) -> bool:
        """Whether all of its answers are there."""
        return self.status_at is not None and (self.child is None or self.child_at is not None)


class Churn:
    """Makes the changes and listens for their answers."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._random = random.Random(SEED)
        self._open: dict[tuple[str, Name], _Change] = {}
        self._children: dict[tuple[str, Name, str], float] = {}
        """When a child was seen that says something, by its owner: it may be there before the patch was answered."""
        self._busy: set[tuple[str, Name]] = set()
        self.changes: list[_Change] = []

    async def run(self, rate: float, seconds: float) -> dict[str, Any]:
        """The figures."""
        tracker, step = self._stage.tracker, await Step.begin(self._stage)
        objects = [(kind, name) for kind, names in tracker.seen.items() for name in names]
        tracker.listeners.append(self._hear)
        began, late, tasks = time.monotonic(), 0.0, []
        for number in range(round(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            chosen = await self._choose(objects)
            late = max(late, time.monotonic() - due)
            tasks.append(asyncio.create_task(self._change(chosen, number)))
        await asyncio.gather(*tasks)
        end = time.monotonic() + LATEST
        while self._open and time.monotonic() < end:
            await asyncio.sleep(0.1)
        tracker.listeners.remove(self._hear)
        cost = await step.end(len(self.changes))
        return {
            "changesPerSecond": rate,
            "changes": len(self.changes),
            "unanswered": len(self._open),
            "unansweredExamples": [f"{kind} {'/'.join(name)}" for kind, name in list(self._open)[:5]],
            "sentLateMs": round(late * 1000, 1),
            "specToStatus": self._spread("status_at"),
            "specToStatusByKind": {k: self._spread("status_at", k) for k in sorted(_CHANGES)},
            "changeToChild": self._spread("child_at"),
            "changeToChildByKind": {k: self._spread("child_at", k) for k in ("Dataset", "Deployment")},
            **cost,
        }

    async def _choose(self, objects: list[tuple[str, Name]]) -> tuple[str, Name]:
        """Any object that no change is under way of, as soon as there is one."""
        async with asyncio.timeout(LATEST):
            while (chosen := self._random.choice(objects)) in self._busy:
                await asyncio.sleep(0.001)
        self._busy.add(chosen)
        return chosen

    async def _change(self, chosen: tuple[str, Name], number: int) -> None:
        kind, (namespace, name) = chosen
        change = _CHANGES[kind](number)
        answer = await self._stage.client.request(
            "patch", OURS[kind].path(namespace, name), kind=kind, body={"spec": change}, content_type=MERGE_PATCH
        )
        now, generation = time.monotonic(), int(answer["metadata"]["generation"])
        child = _said(kind, answer)
        made = _Change(kind=kind, generation=generation, answered=now, child=child)
        self.changes.append(made)
        self._open[chosen] = made
        seen = self._stage.tracker.seen[kind][chosen[1]]
        if seen.observed >= generation:
            made.status_at = seen.at
        if child is not None:
            made.child_at = self._children.get((kind, chosen[1], child))
        self._close(chosen)

    def _hear(self, obj: Raw, now: float) -> None:
        kind, meta = obj["kind"], obj["metadata"]
        labels = meta.get("labels") or {}
        if kind == "Job" and LABEL_DATASET in labels:
            self._child("Dataset", (meta["namespace"], labels[LABEL_DATASET]), labels.get(LABEL_GENERATION, ""), now)
        elif kind == "ModelPlacement":
            said = f"{obj['spec']['samplingPercent']:g}"
            self._child("Deployment", (meta["namespace"], labels[LABEL_DEPLOYMENT]), said, now)
        else:
            chosen = kind, (meta["namespace"], meta["name"])
            change = self._open.get(chosen)
            observed = int((obj.get("status") or {}).get("observedGeneration") or 0)
            if change is not None and change.status_at is None and observed >= change.generation:
                change.status_at = now
                self._close(chosen)

    def _child(self, kind: str, name: Name, said: str, now: float) -> None:
        self._children.setdefault((kind, name, said), now)
        change = self._open.get((kind, name))
        if change is not None and change.child == said and change.child_at is None:
            change.child_at = now
            self._close((kind, name))

    def _close(self, chosen: tuple[str, Name]) -> None:
        if self._open[chosen].over:
            del self._open[chosen]
            self._busy.discard(chosen)

    def _spread(self, what: str, kind: str | None = None) -> dict[str, float]:
        """Of the answers of one sort: an answer that came before the patch's own counts as at once."""
        ended = [(c, getattr(c, what)) for c in self.changes if kind in (None, c.kind)]
        return spread([max(0.0, at - c.answered) for c, at in ended if at is not None])


def _said(kind: str, answer: Raw) -> str | None:
    """What the child of a changed object must say; None when none changes."""
    if kind == "Dataset":
        return str(answer["metadata"]["generation"])
    return f"{answer['spec']['online']['samplingPercent']:g}" if kind == "Deployment" else None
