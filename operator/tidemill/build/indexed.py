"""Indexed Jobs: several pods that work on one task, each with a number. Pod 0 speaks for all: its end is the Job's."""

from __future__ import annotations

from typing import Any

from tidemill.contract.names import NAME_LIMIT, child_name

Manifest = dict[str, Any]

INDEX_ROOM = len("-255")
"""What a pod's host name adds to the Job's name: the API server refuses a Job whose pods would have none."""


def index_job(job: Manifest, *, pods: int) -> None:
    """Make a task's Job one of so many pods, which start at once.

    Pods get their number as the environment variable JOB_COMPLETION_INDEX and as a label. The Job has succeeded when pod 0
    has (success policy, KEP-3998): pods that are idle by then are stopped. A name without room for the number is shortened.
    """
    job["metadata"]["name"] = child_name(job["metadata"]["name"], limit=NAME_LIMIT - INDEX_ROOM)
    job["spec"] |= {
        "completions": pods,
        "parallelism": pods,
        "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
    }
