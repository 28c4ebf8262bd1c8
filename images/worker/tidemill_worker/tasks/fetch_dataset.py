"""FetchDataset: what a user's own code needs: a dataset's verified files, a script, and what an earlier pod left."""

from __future__ import annotations

import os

from tidemill.contract.names import QUARANTINE_FILE
from tidemill.contract.results import FetchResult
from tidemill.contract.tasks import FetchDataset
from tidemill_worker import log
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context, fresh_folder
from tidemill_worker.own.checkpoint import KeptCheckpoint
from tidemill_worker.own.code import lay_out


def run(task: FetchDataset, context: Context) -> FetchResult:
    """Lay everything out in the work directory; the dataset complete or not at all. What is cheap to find wrong comes first."""
    code = lay_out(task.script, task.run_root, task.owner.namespace, context) if task.script else None
    context.tracker.phase("Downloading", 0.1, task.dataset.uri)
    artifact = Artifact(context, task.dataset, name="dataset")
    folder = artifact.fetch_all(leave_out={QUARANTINE_FILE})  # who reads every parquet file would train on bad rows
    target = context.environment.work_dir / "input"
    folder.rename(fresh_folder(target))  # a pod whose sandbox was lost fetches again, beside what the user's image left
    fresh_folder(context.environment.output)
    _restore(task, context)
    files = sum(entry.path != QUARANTINE_FILE for entry in artifact.manifest.files)
    return FetchResult(files=files, code=code.version if code else None)


def _restore(task: FetchDataset, context: Context) -> None:
    """What an earlier pod of the run left; unless this pod was here before, whose own folder is newer."""
    folder = context.environment.checkpoint
    if folder.is_dir() and not folder.is_symlink() and os.listdir(folder):
        log.info("the pod's own checkpoint is kept")
        return
    number = KeptCheckpoint(context.store, task.run_root).restore(fresh_folder(folder))
    if number:
        log.info("checkpoint restored", files=number)
