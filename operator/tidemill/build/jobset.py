"""A JobSet of one replicated job with one replica: the very Indexed Job that a distributed run has without it.

The Job keeps its own retries, success and deadline, so that a run behaves the same; JobSet makes the Service that names the
pods, and puts itself between the Job and all who suspend, queue and delete. Its API: https://jobset.sigs.k8s.io (v1alpha2).
"""

from __future__ import annotations

from typing import Any

from tidemill.build.distribution import distribute
from tidemill.build.metadata import metadata
from tidemill.build.settings import BuildSettings
from tidemill.contract.distribution import Distribution, JobSetOptions
from tidemill.contract.names import LABEL_QUEUE, NAME_LIMIT, child_name

Manifest = dict[str, Any]

API_VERSION = "jobset.x-k8s.io/v1alpha2"
REPLICATED_JOB = "node"
ANNOTATION_EXCLUSIVE = "alpha.jobset.sigs.k8s.io/exclusive-topology"
ROOM = len(f"-{REPLICATED_JOB}-0-255-abcde")
"""What a pod's name adds to the JobSet's: JobSet's webhook refuses one whose pods would have names that are too long."""


def jobset_name(name: str) -> str:
    """The name of the JobSet of a Job that would have this one. Like a Service's it begins with a letter (RFC 1035)."""
    parts = (name,) if name[0].isalpha() else ("run", name)
    return child_name(*parts, limit=NAME_LIMIT - ROOM)


def job_within(jobset: str) -> str:
    """The name that JobSet gives the one Job of the JobSet with this name."""
    return f"{jobset}-{REPLICATED_JOB}-0"


def distributed_jobset(
    job: Manifest, distribution: Distribution, options: JobSetOptions, settings: BuildSettings
) -> Manifest:
    """The JobSet around a run's Job, which is made one of several pods that train together.

    Labels and annotations are on both, so that the Job is watched like any other and says its shape itself; only Kueue's is
    on the JobSet alone, which it admits as a whole. What JobSet decides by itself (suspension, removal some time after the
    end) is taken off the Job.
    """
    name = jobset_name(job["metadata"]["name"])
    job["metadata"]["name"] = job_within(name)
    distribute(job, distribution, settings)
    meta, spec = job["metadata"], job["spec"]
    subdomain = spec["template"]["spec"].pop("subdomain")
    exclusive = {ANNOTATION_EXCLUSIVE: options.exclusive_topology} if options.exclusive_topology else {}
    template = {
        "labels": {key: value for key, value in meta["labels"].items() if key != LABEL_QUEUE},
        "annotations": meta["annotations"],
    }
    suspend, ttl = spec.pop("suspend"), spec.pop("ttlSecondsAfterFinished", None)
    return {
        "apiVersion": API_VERSION,
        "kind": "JobSet",
        "metadata": metadata(
            name=name,
            namespace=meta["namespace"],
            labels=meta["labels"],
            annotations={**meta["annotations"], **exclusive},
        ),
        "spec": {
            "suspend": suspend,
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True, "subdomain": subdomain},
            "successPolicy": {"operator": "All"},
            "failurePolicy": {"maxRestarts": 0},  # each pod has its own retries: a restart would begin with all anew
            "replicatedJobs": [
                {"name": REPLICATED_JOB, "replicas": 1, "template": {"metadata": template, "spec": spec}}
            ],
            **({} if ttl is None else {"ttlSecondsAfterFinished": ttl}),
        },
    }
