"""A cluster with a Deployment that is judged on every new version of a Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.property import fake_jobs, manifests
from tests.property.fake_api import Raw
from tests.property.fake_cluster import NAMESPACE, RECONCILERS
from tests.property.loop_invariants import conditions
from tests.property.once_killed import OnceKilled

from tidemill.contract.names import LABEL_TASK
from tidemill.reconcile.deployment import reconcile_deployment
from tidemill.reconcile.plan import Key

FRESH = Key(kind="Dataset", namespace=NAMESPACE, name="fresh")


USED = Key(kind="Deployment", namespace=NAMESPACE, name="used")


BATCH = {"mode": "Batch", "batch": {"dataset": "flights"}, "model": {"name": "delay", "stage": "Production"}}


class Cluster(OnceKilled):
    """With Deployments."""

    reconcilers: Mapping[str, Any] = {**RECONCILERS, "Deployment": reconcile_deployment}

    @property
    def used(self) -> Raw:
        """The status of the Deployment."""
        return self.status("Deployment", "used")

    @property
    def results(self) -> list[Raw]:
        """The evaluations in its status."""
        return list((self.used.get("evaluation") or {}).get("results", ()))

    @property
    def verdict(self) -> tuple[str, str]:
        """Status and reason of the condition."""
        found = self.condition
        return found["status"], found["reason"]

    @property
    def condition(self) -> Raw:
        obj = self.api.get(USED)
        assert obj is not None
        return conditions(obj)["Evaluated"]

    def evaluations(self) -> list[Raw]:
        """The evaluations' Jobs that are there."""
        return [job for job in self.jobs() if job["metadata"]["labels"][LABEL_TASK] == "EvaluateModel"]

    def made(self) -> int:
        """How many there ever were."""
        return sum(
            1 for verb, key in self.api.writes if verb == "create" and "-evaluate-" in key.name and key.kind == "Job"
        )

    def refresh(self, letter: str, name: str = "fresh") -> str:
        """A refresh has made another version, and the Dataset was Ready all the time; its digest."""
        key = Key(kind="Dataset", namespace=NAMESPACE, name=name)
        obj = self.api.get(key)
        assert obj is not None
        status, digest = obj["status"], f"sha256:{letter * 64}"
        newest = {**status["versions"][0], "digest": digest, "uri": f"s3://tidemill/ml/datasets/{name}/{letter * 64}"}
        changed = {"digest": digest, "uri": newest["uri"], "versions": [newest, *status["versions"]][:10]}
        self.api.write_status(key, {**status, **changed})
        return digest

    def begin(self) -> Raw:
        """Let the operator make an evaluation's Job, and its pod run."""
        self.operate()
        (job,) = [job for job in self.evaluations() if not fake_jobs.is_finished(job)]
        fake_jobs.step(self.api, job)
        fake_jobs.step(self.api, self.fresh(job))
        self.operate()
        return self.fresh(job)

    def fresh(self, job: Raw) -> Raw:
        found = self.api.get(Key(kind="Job", namespace=NAMESPACE, name=job["metadata"]["name"]))
        assert found is not None
        return found

    def writes_of_a_resync(self) -> list[tuple[str, Key]]:
        before = len(self.api.writes)
        self.restart()
        self.operate()
        return self.api.writes[before:]


def cluster_with(*, end: fake_jobs.End = "ok", kill_at: int | None = None, **evaluation: Any) -> Cluster:
    """Version 1 is in Production, and evaluated on the first version of `fresh`."""
    cluster = Cluster(kill_at=kill_at)
    cluster.create(manifests.dataset())
    cluster.create(manifests.dataset("fresh", uri="s3://data/fresh.parquet"))
    cluster.create(manifests.version("delay", 1, stage="Production"))
    cluster.settle()
    spec = {**BATCH, "evaluation": {"dataset": "fresh", **evaluation}}
    cluster.create(
        {"apiVersion": manifests.API_VERSION, "kind": "Deployment", "metadata": {"name": "used"}, "spec": spec}
    )
    cluster.settle(end=end)
    return cluster
