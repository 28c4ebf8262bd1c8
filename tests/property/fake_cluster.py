"""The whole operator but for its input and output: an API server in memory, a cache that lags, the queue, the driver.

The cache is the operator's own (`runtime.indices`), fed kind by kind from the API server's log, so that kinds can be of
different ages. Keys are queued by the operator's own triggers. The driver carries a plan out effect by effect and can be
killed between any two. `settle()` lets everything come to rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.property import fake_jobs, fake_jobsets
from tests.property.fake_api import Change, Conflict, FakeApi, NotFound, Raw, controller_uid, key_of

from tidemill.api.v1alpha1 import KINDS
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.contract.names import ANNOTATION_DIGEST
from tidemill.contract.results import Progress
from tidemill.kube.apply import complete
from tidemill.kube.status import clean
from tidemill.reconcile.dataset import reconcile_dataset
from tidemill.reconcile.modelversion import reconcile_modelversion
from tidemill.reconcile.observed import Context, DriftReading
from tidemill.reconcile.plan import Child, Event, Key, Plan
from tidemill.reconcile.trainingrun import reconcile_trainingrun
from tidemill.reconcile.triggers import triggered
from tidemill.runtime.indices import Indices

NAMESPACE = "ml"
SETTINGS = BuildSettings(
    images=Images(worker="worker:1", trainer="trainer:1", serving="serving:1"),
    store=Store(bucket="tidemill", endpoint="http://store:8333"),
)
RECONCILERS = {
    "Dataset": reconcile_dataset,
    "TrainingRun": reconcile_trainingrun,
    "ModelVersion": reconcile_modelversion,
}


class Killed(Exception):
    """The operator was killed between two effects."""


@dataclass
class Measured:
    """Progress by pod; no drift."""

    pods: dict[str, Progress] = field(default_factory=dict)

    def progress(self, _namespace: str, pod: str) -> Progress | None:
        return self.pods.get(pod)

    def drift(self, _namespace: str, _policy: str) -> DriftReading | None:
        return None


class FakeCluster:
    """API server, cache, queue and driver."""

    reconcilers: Mapping[str, Any] = RECONCILERS

    def __init__(self) -> None:
        self.api = FakeApi()
        self.settings = SETTINGS
        self.measured = Measured()
        self.events: list[tuple[Key, Event]] = []
        self.restart()

    # The operator's process

    def restart(self) -> None:
        """The operator starts anew: nothing in memory, one LIST of every kind."""
        self.cache = Indices()
        self.cache.measurements = self.measured
        self.queue: dict[Key, None] = {}
        self.seen = {kind: len(log) for kind, log in self.api.log.items()}
        self.due: dict[Key, float] = {}
        for obj in self.api.objects.values():
            self.cache.upsert(obj)
        for obj in self.api.objects.values():
            self._enqueue(obj)

    def lagging(self) -> list[str]:
        """The kinds of which the cache has not seen everything."""
        return sorted(kind for kind, log in self.api.log.items() if self.seen.get(kind, 0) < len(log))

    def watch(self, kind: str, count: int | None = None) -> None:
        """Let the cache see the next changes of a kind; all of them without a count."""
        log, start = self.api.log.get(kind, []), self.seen.get(kind, 0)
        stop = len(log) if count is None else min(len(log), start + count)
        self.seen[kind] = stop
        for change in log[start:stop]:
            self._take(change)

    def reconcile(self, key: Key, *, kill_after: int | None = None) -> int:
        """One pass over a key; the number of effects. Raises Killed after `kill_after` of them."""
        self.queue.pop(key, None)
        seen = self.cache.get(key.kind, key.namespace, key.name)
        if seen is None or key.kind not in self.reconcilers:
            return 0
        resource = KINDS[key.kind].model_validate(seen)
        plan = self.reconcilers[key.kind](resource, self.cache, Context(now=self.api.now, settings=self.settings))
        effects = 0
        try:
            for _ in self._effects(key, dict(seen), plan):
                effects += 1
                if effects == kill_after:
                    raise Killed
        except (Conflict, NotFound):
            self.queue[key] = None
        if plan.requeue_after is not None:
            self.due[key] = plan.requeue_after
        return effects

    def _effects(self, key: Key, seen: Raw, plan: Plan) -> Iterator[str]:
        for child in plan.children:
            yield from self._ensure(child, seen)
        for patch in plan.patches:
            self.api.patch_spec(patch.key, patch.manifest["spec"])
            yield "patch"
        for gone in plan.deletes:
            known = self.cache.get(gone.kind, gone.namespace, gone.name)
            live = self.api.get(gone)
            if known is not None and live is not None and live["metadata"]["uid"] == known["metadata"]["uid"]:
                self.api.delete(gone)
                yield "delete"
        if plan.status is not None and clean(plan.status) != (seen.get("status") or {}):
            version = seen["metadata"]["resourceVersion"]
            self.api.write_status(key, clean(plan.status), resource_version=version)
            yield "status"
        self.events += [(key, event) for event in plan.events]

    def _ensure(self, child: Child, owner: Raw) -> Iterator[str]:
        assert child.mode == "create", "these kinds create all their children"
        manifest, digest = complete(child, owner)
        live = self.cache.get(child.key.kind, child.key.namespace, child.key.name)
        if live is None:
            try:
                self.api.create(manifest)
            except Conflict:
                live = self.api.get(child.key)
                assert live is not None
            else:
                yield "create"
                return
        if child.owned and controller_uid(live) != owner["metadata"]["uid"]:
            raise Conflict(f"{child.key} belongs to somebody else")
        if not child.owned and live["metadata"]["annotations"].get(ANNOTATION_DIGEST) != digest:
            raise Conflict(f"{child.key} was created by somebody else")

    def _take(self, change: Change) -> None:
        obj = change.object
        meta = obj["metadata"]
        if change.deleted:
            self._enqueue(obj)
            self.cache.remove(obj["kind"], meta.get("namespace", ""), meta["name"], meta["uid"])
        else:
            self.cache.upsert(obj)
        self._enqueue(obj)

    def _enqueue(self, obj: Raw) -> None:
        for key in triggered(obj, self.cache):
            if key.kind in self.reconcilers:
                self.queue[key] = None

    def upgrade(self, **images: str) -> None:
        """The operator's chart gets other images, and its process starts anew."""
        self.settings = replace(self.settings, images=replace(self.settings.images, **images))
        self.restart()

    # Coming to rest

    def jobs(self) -> list[Raw]:
        """All Jobs."""
        return list(self.api.all("Job"))

    def operate(self, *, rounds: int = 200) -> None:
        """Let the operator see and do everything that there is to see and do, while nobody else does anything."""
        for _ in range(rounds):
            for kind in self.lagging():
                self.watch(kind)
            if not self.queue:
                return
            self.reconcile(next(iter(self.queue)))
        raise AssertionError(f"the operator does not come to rest: {list(self.queue)}")

    def settle(self, *, end: fake_jobs.End = "ok", rounds: int = 200) -> None:
        """Let the Jobs run to their end and the operator follow, until nothing changes any more."""
        for _ in range(rounds):
            self.operate()
            self.api.collect_garbage()
            moved = [fake_jobsets.step(self.api, jobset) for jobset in list(self.api.all("JobSet"))]
            moved += [fake_jobs.step(self.api, job, end) for job in self.jobs()]
            if self.lagging() or any(moved):
                continue
            if not self.due:
                return
            self.api.tick(max(self.due.values()) + 1)
            self.queue.update(dict.fromkeys(self.due))
            self.due.clear()
        raise AssertionError("the cluster does not come to rest")

    def status(self, kind: str, name: str) -> Raw:
        """The status of an object, {} when it has none."""
        obj = self.api.get(Key(kind=kind, namespace=NAMESPACE, name=name))
        return (obj or {}).get("status") or {}

    def create(self, manifest: Raw) -> Key:
        """A user creates an object."""
        manifest["metadata"].setdefault("namespace", NAMESPACE)
        return key_of(self.api.create(manifest))
