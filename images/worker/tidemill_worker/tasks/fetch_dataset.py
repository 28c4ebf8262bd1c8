"""FetchDataset: a dataset's verified files for a user's own container."""

from __future__ import annotations

import shutil

from tidemill.contract.results import FetchResult
from tidemill.contract.tasks import FetchDataset
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context


def run(task: FetchDataset, context: Context) -> FetchResult:
    """Lay train, validation and test and what belongs to them into `<work dir>/input`, complete or not at all."""
    context.tracker.phase("Downloading", 0.1, task.dataset.uri)
    artifact = Artifact(context, task.dataset, name="dataset")
    folder = artifact.fetch_all()
    target = context.environment.work_dir / "input"
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)
    return FetchResult(files=len(artifact.manifest.files))
