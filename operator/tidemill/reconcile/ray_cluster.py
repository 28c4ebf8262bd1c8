"""The Ray cluster of a prepare Job: it is there while the Job runs, and gone once it is suspended or has ended.

It belongs to the Job, so that it goes with it when Job or Dataset are deleted, whether or not the operator runs then.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidemill.api.v1alpha1.dataset import Dataset, DatasetSpec
from tidemill.build.ray_cluster import cluster_name, ray_cluster
from tidemill.contract.reasons import Reason
from tidemill.reconcile.artifacts import Waiting
from tidemill.reconcile.jobs import is_finished, key_of
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Child, Key

KIND = "RayCluster"


def lacking(spec: DatasetSpec, observed: Observed) -> Waiting | None:
    """Why there can be no cluster now; None also when none is asked for."""
    if spec.ray is None or spec.ray.cluster is None or (why := observed.absent(KIND)) is None:
        return None
    text = f"spec.ray.cluster: {why}, or name a running Ray cluster in spec.ray.address"
    return Waiting(reason=Reason.WAITING_FOR_API, message=text)


def needed(dataset: Dataset, job: Object, observed: Observed, context: Context) -> tuple[Child, ...]:
    """The cluster that a living Job has not got yet. It is made once and never changed: KubeRay looks after it."""
    options = dataset.spec.ray
    if options is None or options.cluster is None or lacking(dataset.spec, observed):
        return ()
    if dataset.spec.suspend or _rests(job) or _cluster_of(job, observed) is not None:
        return ()
    manifest = ray_cluster(dataset, options.cluster, job, context.settings)
    return (Child(manifest=manifest, mode="create", owned=False),)


def spent(jobs: Iterable[Object], observed: Observed) -> tuple[Key, ...]:
    """The clusters of Jobs that do not run any more."""
    found = (_cluster_of(job, observed) for job in jobs if _rests(job))
    return tuple(key_of(cluster) for cluster in found if cluster is not None)


def trouble(job: Object, observed: Observed) -> str | None:
    """What KubeRay says is wrong with a Job's cluster."""
    cluster = _cluster_of(job, observed)
    for condition in ((cluster or {}).get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            said = condition.get("message") or condition.get("reason") or "no reason given"
            return f"KubeRay cannot make the pods of RayCluster {cluster_name(job['metadata']['name'])}: {said}"
    return None


def _rests(job: Object) -> bool:
    return is_finished(job) or bool((job.get("spec") or {}).get("suspend"))


def _cluster_of(job: Object, observed: Observed) -> Object | None:
    """The cluster of this very Job: one of an earlier Job of the same name is the garbage collector's."""
    meta = job["metadata"]
    found = observed.get(KIND, meta["namespace"], cluster_name(meta["name"]))
    owners = found["metadata"].get("ownerReferences") or () if found else ()
    return found if any(owner.get("uid") == meta["uid"] for owner in owners) else None
