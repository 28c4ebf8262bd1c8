"""A cluster in which time passes: for Datasets that are refreshed and whose versions are removed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tests.property import fake_jobs
from tests.property.fake_api import Raw
from tests.property.fake_cluster import NAMESPACE, RECONCILERS, FakeCluster
from tests.property.invariants import check_status_write

from tidemill.api.durations import parse_time
from tidemill.contract.names import ANNOTATION_TASK, LABEL_TASK
from tidemill.contract.tasks import TASK, Task
from tidemill.reconcile.plan import Key


class Cluster(FakeCluster):
    """Jobs end as soon as they can; then time goes on to the next moment at which the operator wants to look."""

    reconcilers: Mapping[str, Any] = RECONCILERS

    def __init__(self) -> None:
        super().__init__()
        self.api.on_status.append(check_status_write)

    def reconcile(self, key: Key, *, kill_after: int | None = None) -> int:
        self.due.pop(key, None)
        return super().reconcile(key, kill_after=kill_after)

    def rest(self, *, end: fake_jobs.End = "ok", jobs: str = "") -> None:
        """Let everything happen that happens without time; `jobs` is how the names of those begin that go on."""
        for _ in range(200):
            self.operate()
            self.api.collect_garbage()
            moved = [
                fake_jobs.step(self.api, job, end) for job in self.jobs() if job["metadata"]["name"].startswith(jobs)
            ]
            if not self.lagging() and not any(moved):
                return
        raise AssertionError("the cluster does not come to rest")

    def at(self, moment: str, *, end: fake_jobs.End = "ok") -> None:
        """Let time pass until then, with a look whenever the operator asked for one."""
        goal = parse_time(moment)
        self.rest(end=end)
        while self.due:
            key, wait = min(self.due.items(), key=lambda item: (item[1], str(item[0])))
            if self.api.now + timedelta(seconds=wait) > goal:
                break
            self.tick(wait)
            self.queue[key] = None
            self.rest(end=end)
        self.tick((goal - self.api.now).total_seconds())

    def tick(self, seconds: float) -> None:
        """Let time pass for the API server, and for what is waited for."""
        self.api.tick(seconds)
        self.due = {key: max(0.0, wait - seconds) for key, wait in self.due.items()}

    def look(self, name: str = "flights", *, end: fake_jobs.End = "ok", jobs: str = "") -> None:
        """A full pass, as the resync makes one."""
        self.queue[Key(kind="Dataset", namespace=NAMESPACE, name=name)] = None
        self.rest(end=end, jobs=jobs)

    def data(self, name: str = "flights") -> Raw:
        """The Dataset's status."""
        return self.status("Dataset", name)

    def tasks(self, kind: str = "PrepareDataset") -> list[Task]:
        """The tasks of all Jobs of a kind that are there, oldest first."""
        jobs = [job for job in self.jobs() if job["metadata"]["labels"][LABEL_TASK] == kind]
        jobs.sort(key=lambda job: int(job["metadata"]["uid"].removeprefix("uid-")))
        return [TASK.validate_json(job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK]) for job in jobs]


def condition(status: Raw, type_: str) -> Raw:
    """A condition of a status, {} without it."""
    return next((c for c in status.get("conditions", ()) if c["type"] == type_), {})


def digests(status: Raw) -> list[str]:
    """The versions of a status, newest first."""
    return [version["digest"] for version in status["versions"]]
