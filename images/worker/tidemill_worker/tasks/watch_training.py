"""WatchTraining: the sidecar of a user's own code."""

from __future__ import annotations

from tidemill.contract.results import PartResult
from tidemill.contract.tasks import WatchTraining
from tidemill_worker.context import Context
from tidemill_worker.own.watch import Watch

EVERY = 1.0
"""Seconds between two looks."""


def run(task: WatchTraining, context: Context) -> PartResult:
    """Watch until the pod ends. Of several pods the first one speaks for all: what the others write is not kept."""
    context.stop.cooperative = True
    if context.environment.pod_index > 0:
        context.stop.event.wait()
        return PartResult()
    watch = Watch(task.training, context)
    while not context.stop.event.wait(EVERY):
        watch.turn()
    watch.end()
    return PartResult()
