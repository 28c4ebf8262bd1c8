"""Idempotence: a task with a root leaves its result at `<root>/tasks/<task id>.json`, and the next try returns it."""

from __future__ import annotations

import json
from collections.abc import Callable

from pydantic import TypeAdapter, ValidationError

from tidemill.contract.layout import join
from tidemill.contract.results import (
    BatchResult,
    CompareResult,
    DatasetResult,
    EdgeResult,
    EvaluateResult,
    ExportResult,
    TrainResult,
    VariantResult,
)
from tidemill.contract.tasks import BaseTask
from tidemill_worker import log
from tidemill_worker.artifact import existing
from tidemill_worker.context import Context

ArtifactResult = (
    DatasetResult
    | TrainResult
    | VariantResult
    | ExportResult
    | BatchResult
    | EdgeResult
    | CompareResult
    | EvaluateResult
)
"""Results of tasks that leave an artifact."""
_RESULT: TypeAdapter[ArtifactResult] = TypeAdapter(ArtifactResult)


def recorded(context: Context, task: BaseTask, root: str, work: Callable[[], ArtifactResult]) -> ArtifactResult:
    """The recorded result while its artifact still exists; else do the work and record it."""
    uri = _place(root, task)
    before = recorded_before(context, task, root)
    if before is not None:
        log.info("already done", record=uri)
        return before
    result = work()
    record = {
        "uri": result.artifact.uri,
        "digest": result.artifact.digest,
        "result": json.loads(result.to_json()),
    }
    body = json.dumps(record, sort_keys=True).encode()
    if not context.store.put_if_absent(uri, body):
        meanwhile = _read(context, uri)
        if meanwhile is not None:
            return meanwhile
        context.store.put(uri, body)  # what is there records an artifact that is gone
    return result


def recorded_before(context: Context, task: BaseTask, root: str) -> ArtifactResult | None:
    """The recorded result while its artifact still exists."""
    return _read(context, _place(root, task))


def _place(root: str, task: BaseTask) -> str:
    return join(root, "tasks", f"{task.task_id}.json")


def _read(context: Context, uri: str) -> ArtifactResult | None:
    body = context.store.read_or_none(uri)
    if body is None:
        return None
    try:
        result = _RESULT.validate_python(json.loads(body)["result"])
    except (ValueError, KeyError, ValidationError) as error:
        log.warn("unreadable record is ignored", record=uri, error=str(error))
        return None
    if existing(context, result.artifact.uri) != result.artifact:
        log.warn("recorded artifact is gone", record=uri, artifact=result.artifact.uri)
        return None
    return result
