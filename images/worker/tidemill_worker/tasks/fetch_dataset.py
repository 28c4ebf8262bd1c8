"""FetchDataset: a dataset's verified files for a user's own container."""

from __future__ import annotations

from tidemill.contract.results import FetchResult
from tidemill.contract.tasks import FetchDataset
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context, fresh_folder


def run(task: FetchDataset, context: Context) -> FetchResult:
    """Lay train, validation and test and what belongs to them into `<work dir>/input`, complete or not at all."""
    context.tracker.phase("Downloading", 0.1, task.dataset.uri)
    artifact = Artifact(context, task.dataset, name="dataset")
    folder = artifact.fetch_all()
    target = context.environment.work_dir / "input"
    folder.rename(fresh_folder(target))  # a pod whose sandbox was lost fetches again, beside what the user's image left
    return FetchResult(files=len(artifact.manifest.files))
