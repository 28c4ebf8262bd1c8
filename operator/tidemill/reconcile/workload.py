"""What runs a training: a Job, or the JobSet around one. A JobSet is looked at as the Job that it stands for.

So all that is decided about Jobs (`jobs.py`) holds for it: which one carries out a task, whether it has ended, what became of
it. It has its own name, labels and annotations, and of the Job inside the pods and the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tidemill.build.jobset import job_within
from tidemill.reconcile import jobs
from tidemill.reconcile.jobs import Outcome, is_finished, read_job
from tidemill.reconcile.observed import Object, Observed

_IN_A_JOBS_WORDS = {"Completed": "Complete"}


def workloads(uid: str, observed: Observed) -> Sequence[Object]:
    """The Jobs and JobSets that an owner controls."""
    return (*observed.owned(uid, "Job"), *(_as_job(found, observed) for found in observed.owned(uid, "JobSet")))


def pods_of(workload: Object, observed: Observed) -> Sequence[Object]:
    """The pods that this very workload made."""
    job = _job_of(workload, observed)
    return () if job is None else jobs.pods_of(job, observed)


def job_name_of(workload: Object) -> str:
    """The name of the Job that makes the pods, also while JobSet's controller has not made it yet."""
    name: str = workload["metadata"]["name"]
    return name if workload["kind"] == "Job" else job_within(name)


def read_workload(workload: Object, observed: Observed, *, now: datetime, shape: str) -> Outcome:
    """The outcome of a workload as the caches show it (see jobs.read_job)."""
    if (job := _job_of(workload, observed)) is not None:
        return read_job(job, observed, now=now, shape=shape)
    outcome = read_job(workload, observed, now=now, shape=shape)
    if outcome.warning is None:
        return outcome
    name = workload["metadata"]["name"]
    message = f"JobSet {name} has no Job yet: does JobSet's controller run? Its events say more: kubectl describe jobset {name}"
    return replace(outcome, message=message, warning=message)


def _job_of(workload: Object, observed: Observed) -> Object | None:
    """The Job that makes the pods: itself, or the only one of a JobSet; none before JobSet's controller has made it."""
    if workload["kind"] == "Job":
        return workload
    return next(iter(observed.owned(workload["metadata"]["uid"], "Job")), None)


def _as_job(jobset: Object, observed: Observed) -> Object:
    """The JobSet with the status of its Job once that has ended, which is before the JobSet says so; else with its own
    conditions in a Job's words."""
    job = _job_of(jobset, observed)
    if job is not None and is_finished(job):
        return {**jobset, "status": job["status"]}
    told = (jobset.get("status") or {}).get("conditions") or ()
    conditions = [{**c, "type": _IN_A_JOBS_WORDS.get(c["type"], c["type"])} for c in told]
    return {**jobset, "status": {"conditions": conditions}}
