"""PublishEdge: an edge bundle, complete in itself: the exported model, what it takes and gives, and every file's hash."""

from __future__ import annotations

import json
import shutil

from tidemill.contract.model import REPORT_FILE, ExportReport
from tidemill.contract.results import EdgeResult
from tidemill.contract.tasks import PublishEdge
from tidemill_worker.artifact import Artifact, publish
from tidemill_worker.context import Context
from tidemill_worker.errors import GateNotPassed, InvalidSpec
from tidemill_worker.recorded import ArtifactResult, recorded

BUNDLE_FILE = "bundle.json"


def run(task: PublishEdge, context: Context) -> ArtifactResult:
    """The bundle that this task made before, or a new one."""
    return recorded(context, task, task.root, lambda: _publish(task, context))


def _publish(task: PublishEdge, context: Context) -> EdgeResult:
    context.tracker.phase("Downloading", 0.1, task.export.uri)
    export = Artifact(context, task.export, name="export")
    report = export.parse(REPORT_FILE, ExportReport)
    if report.format != task.format:
        raise InvalidSpec(f"export {task.export.uri} is {report.format}, not {task.format}", field="spec.edge.format")
    if not report.accepted:
        raise GateNotPassed(f"export {task.export.uri} was not accepted: {report.reason}", field="spec.edge")
    source = export.fetch_all()
    place = context.folder("bundle")
    files = []
    for entry in export.manifest.files:
        target = place / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / entry.path, target)
        files.append(entry.model_dump(mode="json", by_alias=True))
    bundle = {
        "model": task.model,
        "version": task.version,
        "format": task.format,
        "export": task.export.model_dump(),
        "maxAbsError": report.max_abs_error,
        "files": files,
    }
    (place / BUNDLE_FILE).write_text(json.dumps(bundle, indent=1, sort_keys=True))
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    ref = publish(context, task, kind="bundle", folder=place, root=task.root)
    return EdgeResult(artifact=ref, size_bytes=size, files=len(files) + 1)
