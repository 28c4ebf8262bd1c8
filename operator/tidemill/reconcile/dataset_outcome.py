"""What a Dataset's status says once an attempt at a version has ended: a version, none because nothing has changed, a failure.

A refresh that does not end well leaves the version before in use: Ready stays true, and the condition Refreshed says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.dataset import Dataset, DatasetStatus, DatasetVersion
from tidemill.contract.canonical import digest, short
from tidemill.contract.names import QUARANTINE_FILE
from tidemill.contract.reasons import FailureReason, Reason
from tidemill.contract.results import DatasetResult, ExpectationResult, TaskFailure, UnchangedResult
from tidemill.reconcile.conditions import STALLED, ConditionSet, finish, shorten
from tidemill.reconcile.dataset_task import Attempt, spec_digest
from tidemill.reconcile.jobs import Outcome
from tidemill.reconcile.observed import Context, Observed
from tidemill.reconcile.plan import Event, Key, Plan
from tidemill.reconcile.policies.refresh import due_at
from tidemill.reconcile.policies.retention import referred
from tidemill.reconcile.retry import retriable

EXPECTATIONS_MET, REFRESHED, PRUNED = "ExpectationsMet", "Refreshed", "Pruned"
VERSIONS_KEPT = 10
_NO_FAILURE = frozenset({Reason.SUSPENDED, Reason.WAITING_FOR_INPUT, Reason.INVALID_SPEC})
"""Reasons why a refresh did not begin; those of one that failed stay until another one does not."""


def succeeded(
    dataset: Dataset,
    attempt: Attempt,
    result: DatasetResult,
    upstream: str,
    observed: Observed,
    context: Context,
    *,
    deletes: tuple[Key, ...],
) -> Plan:
    """A version was made, or one that was there before is the newest again."""
    conditions, before = conditions_of(dataset, context), dataset.status
    rows, now = sum(result.rows.values()), format_time(context.now)
    version = DatasetVersion(
        digest=result.artifact.digest,
        uri=result.artifact.uri,
        generation=dataset.metadata.generation,
        rows=rows,
        prepared_at=now,
    )
    same = attempt.refresh and version.digest == before.digest
    older = (v for v in before.versions if v.digest != version.digest)
    message = describe(rows, result.column_count, version.digest)
    set_expectations(conditions, result.expectations, result.quarantined)
    conditions.ready(Reason.SUCCEEDED, message)
    if dataset.spec.refresh:
        text = "the sources have changed, the rows have not" if same else message
        conditions.set(REFRESHED, True, Reason.UNCHANGED if same else Reason.SUCCEEDED, text)
    status = status_of(
        dataset,
        conditions,
        digest=version.digest,
        uri=version.uri,
        rows=rows,
        split_rows=dict(result.rows),
        column_count=result.column_count,
        columns=result.columns[:20],
        profile_uri=result.profile_uri,
        quarantined=result.quarantined,
        note=result.note,
        expectations=tuple(e.model_copy(update={"message": shorten(e.message, 200)}) for e in result.expectations),
        versions=before.versions if same else _room_for((version, *older), dataset, observed),
        changes=result.changes if version.digest != before.digest else before.changes,
        spec_digest=spec_digest(dataset.spec),
        source_digest=result.source_digest,
        progress=None,
        **_ended(dataset, upstream, now),
    )
    events = () if same else (Event(reason=Reason.SUCCEEDED, message=f"prepared {message}"),)
    return Plan(deletes=deletes, status=status, events=events)


def _room_for(versions: tuple[DatasetVersion, ...], dataset: Dataset, observed: Observed) -> tuple[DatasetVersion, ...]:
    """As many as the status can hold: the newest, and before others those that something refers to, which must be found."""
    if len(versions) <= VERSIONS_KEPT:
        return versions
    needed = referred(dataset, observed)
    dropped = next((v for v in reversed(versions[1:]) if v.digest not in needed), versions[-1])
    return tuple(v for v in versions if v is not dropped)


def unchanged(
    dataset: Dataset, result: UnchangedResult, upstream: str, context: Context, *, deletes: tuple[Key, ...]
) -> Plan:
    """The sources are what they were. If they could not be made into a version then, they cannot now."""
    conditions, before = conditions_of(dataset, context), dataset.status
    conditions.ready(Reason.SUCCEEDED, describe_newest(before))
    expectations = before.expectations
    last = before.condition(REFRESHED)
    if last is None or last.status == "True" or last.reason in _NO_FAILURE:
        conditions.set(REFRESHED, True, Reason.UNCHANGED, "the sources have not changed")
        anew = {e.name: e for e in result.expectations}
        expectations = tuple(anew.get(e.name, e) for e in expectations)
        set_expectations(conditions, expectations, before.quarantined)
    ended = _ended(dataset, upstream, format_time(context.now))
    status = status_of(
        dataset, conditions, expectations=expectations, source_digest=result.source_digest, progress=None, **ended
    )
    return Plan(deletes=deletes, status=status)


def failed(
    dataset: Dataset, attempt: Attempt, outcome: Outcome, upstream: str, context: Context, *, deletes: tuple[Key, ...]
) -> Plan:
    """No version was made."""
    conditions, changes = conditions_of(dataset, context), _ended(dataset, upstream, format_time(context.now))
    if outcome.reason == FailureReason.EXPECTATION_FAILED:
        conditions.set(EXPECTATIONS_MET, False, outcome.reason, outcome.message)
    if attempt.refresh:
        conditions.ready(Reason.SUCCEEDED, describe_newest(dataset.status))
        conditions.set(REFRESHED, False, outcome.reason, f"{outcome.message}; the version before stays in use")
        if isinstance(outcome.result, TaskFailure) and outcome.result.source_digest:
            changes["source_digest"] = outcome.result.source_digest
    else:
        conditions.stalled(outcome.reason, retriable(outcome.message, dataset))
    event = Event(reason=outcome.reason, message=outcome.message, type="Warning")
    status = status_of(dataset, conditions, progress=None, **changes)
    return Plan(deletes=deletes, status=status, events=(event,))


def _ended(dataset: Dataset, upstream: str, now: str) -> dict[str, Any]:
    changes: dict[str, Any] = {"finished_at": now, "upstream_digest": digest(upstream) if upstream else None}
    return {**changes, "checked_at": now} if dataset.spec.refresh else changes


def gave_up(dataset: Dataset) -> bool:
    """The attempt of this generation has failed: only a change of the spec, of the retry annotation, or a refresh that is
    due starts another."""
    stalled = dataset.status.condition(STALLED)
    return (
        dataset.status.finished_at is not None
        and stalled is not None
        and stalled.observed_generation == dataset.metadata.generation
    )


def set_expectations(
    conditions: ConditionSet, expectations: Iterable[ExpectationResult], quarantined: int | None
) -> None:
    """The condition ExpectationsMet of the newest version."""
    found = tuple(expectations)
    missed = [e for e in found if not e.passed]
    if missed:
        text = "; ".join(f"{e.name}: {e.message}" for e in missed)
        if quarantined:
            text = f"{quarantined} rows are in {QUARANTINE_FILE}: {text}"
        reason = Reason.ROWS_QUARANTINED if quarantined else Reason.EXPECTATIONS_WARNED
        conditions.set(EXPECTATIONS_MET, False, reason, text)
    elif found:
        conditions.set(EXPECTATIONS_MET, True, Reason.EXPECTATIONS_MET, f"all {len(found)} hold")
    else:
        conditions.remove(EXPECTATIONS_MET)


def describe(rows: int, columns: int, version: str) -> str:
    """A version in a few words."""
    return f"version {short(version)}: {rows} rows, {columns} columns"


def describe_newest(status: DatasetStatus) -> str:
    """The newest version in a few words."""
    return describe(status.rows or 0, status.column_count or 0, status.digest or "")


def conditions_of(dataset: Dataset, context: Context) -> ConditionSet:
    """The conditions so far, without those of what the spec does not ask for any more."""
    conditions = ConditionSet(dataset.status, generation=dataset.metadata.generation, now=context.now)
    if dataset.spec.refresh is None:
        conditions.remove(REFRESHED)
    if dataset.spec.retention is None:
        conditions.remove(PRUNED)
    return conditions


def status_of(dataset: Dataset, conditions: ConditionSet, **changes: Any) -> dict[str, Any]:
    """The status with changes, as a plan carries it."""
    status: DatasetStatus = dataset.status.model_copy(update=changes)
    due = due_at(dataset.spec, status)
    status = status.model_copy(update={"next_refresh_at": format_time(due) if due else None})
    return finish(status, conditions, generation=dataset.metadata.generation)
