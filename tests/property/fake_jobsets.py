"""What JobSet's controller does with a run's JobSet: it makes the Job, suspends and resumes it, and tells its end.

`tests/glue/test_jobset.py` has the real one.
"""

from __future__ import annotations

import copy

from tests.property import fake_jobs
from tests.property.fake_api import FakeApi, Raw, controller_uid, key_of

from tidemill.api.durations import format_time


def job_of(api: FakeApi, jobset: Raw) -> Raw | None:
    """The Job of a JobSet with one replicated job of one replica."""
    return next((job for job in api.all("Job") if controller_uid(job) == jobset["metadata"]["uid"]), None)


def step(api: FakeApi, jobset: Raw) -> bool:
    """Take a JobSet one step further; False when there is nothing to do."""
    if fake_jobs.is_finished(jobset):
        return False
    job, suspend = job_of(api, jobset), jobset["spec"]["suspend"]
    if job is None:
        _create_job(api, jobset)
    elif fake_jobs.is_finished(job):
        (ended,) = job["status"]["conditions"]
        type_ = {"Complete": "Completed"}.get(ended["type"], ended["type"])
        condition = {"type": type_, "status": "True", "lastTransitionTime": format_time(api.now)}
        api.write_status(key_of(jobset), {"conditions": [condition]})
    elif job["spec"]["suspend"] != suspend:
        api.patch_spec(key_of(job), {"suspend": suspend})
    else:
        return False
    return True


def _create_job(api: FakeApi, jobset: Raw) -> None:
    (replicated,) = jobset["spec"]["replicatedJobs"]
    template, meta = copy.deepcopy(replicated["template"]), jobset["metadata"]
    owner = {"apiVersion": jobset["apiVersion"], "kind": "JobSet", "name": meta["name"], "uid": meta["uid"]}
    name = f"{meta['name']}-{replicated['name']}-0"
    api.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                **template["metadata"],
                "name": name,
                "namespace": meta["namespace"],
                "ownerReferences": [{**owner, "controller": True}],
            },
            "spec": {**template["spec"], "suspend": jobset["spec"]["suspend"]},
        }
    )
