"""The status of a placement: what it says (pure), and writing it, once and only when it differs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tidemill.api.base import Condition
from tidemill.api.durations import format_time
from tidemill.api.v1alpha1.modelplacement import ModelPlacementStatus, PlacementState, ServedVersion
from tidemill.contract.reasons import Reason
from tidemill.kube.client import MERGE_PATCH, Client
from tidemill.kube.errors import ApiError, ConnectionFailed
from tidemill.kube.status import clean, merge_patch
from tidemill_agent import log
from tidemill_agent.placements import TYPE, Placement, Placements

READY, SAMPLING = "Ready", "Sampling"
MESSAGE_LIMIT = 1024
AT_ONCE = 8
MAX_BACKOFF = 30.0

_REASONS: dict[PlacementState, Reason] = {
    "Pending": Reason.PENDING,
    "Loading": Reason.LOADING,
    "Loaded": Reason.LOADED,
    "Failed": Reason.LOAD_FAILED,
}


@dataclass(frozen=True, slots=True)
class NoSampling:
    """Why a model is not sampled."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the agent has to say about a placement."""

    state: PlacementState
    message: str = ""
    serving: ServedVersion | None = None
    attempts: int = 0
    no_sampling: NoSampling | None = None
    """Why the model is not sampled although the spec asks for it."""
    generation: int = 0
    """Of the spec that the report speaks of, which may have changed again until it is written."""


def status_of(report: Report, *, previous: Mapping[str, Any], pod_uid: str, now: str) -> dict[str, Any]:
    """The whole status. A condition's time moves only when its status does."""
    before = {c["type"]: c for c in previous.get("conditions") or ()}
    message = report.message if len(report.message) <= MESSAGE_LIMIT else report.message[: MESSAGE_LIMIT - 1] + "…"

    def condition(type_: str, value: bool, reason: str, text: str) -> Condition:
        old = before.get(type_, {})
        status = "True" if value else "False"
        since = old["lastTransitionTime"] if old.get("status") == status else now
        return Condition.model_validate(
            {
                "type": type_,
                "status": status,
                "reason": reason,
                "message": text,
                "lastTransitionTime": since,
                "observedGeneration": report.generation,
            }
        )

    conditions = [condition(READY, report.state == "Loaded", _REASONS[report.state], message)]
    if report.no_sampling:
        conditions.append(condition(SAMPLING, False, report.no_sampling.reason, report.no_sampling.message))
    status = ModelPlacementStatus(
        observed_generation=report.generation,
        conditions=tuple(conditions),
        state=report.state,
        message=message,
        serving=report.serving,
        pod_uid=pod_uid,
        attempts=report.attempts,
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True, slots=True)
class _Entry:
    uid: str
    """Of the placement: one that was deleted and made anew is not the one that the report speaks of."""
    report: Report
    not_before: float
    failures: int = 0


class Publisher:
    """Writes reports in the background; a newer report replaces one that was not written yet."""

    def __init__(self, client: Client, placements: Placements, *, namespace: str, pod_uid: str) -> None:
        self._client, self._placements = client, placements
        self._namespace, self._pod_uid = namespace, pod_uid
        self._entries: dict[str, _Entry] = {}
        self._wake = asyncio.Event()
        self.writes = 0

    def publish(self, placement: Placement, report: Report, *, delay: float = 0.0) -> None:
        """Say something about a placement, after a delay if nothing newer is said until then."""
        meta = placement.resource.metadata
        report = replace(report, generation=meta.generation)
        self._entries[meta.name] = _Entry(meta.uid, report, time.monotonic() + delay)
        self._wake.set()

    async def run(self) -> None:
        """Write what is due, for ever."""
        while True:
            now = time.monotonic()
            due = [name for name, entry in self._entries.items() if entry.not_before <= now][:AT_ONCE]
            if due:
                await asyncio.gather(*(self._write(name, self._entries.pop(name)) for name in due))
                continue
            self._wake.clear()
            first = min((entry.not_before for entry in self._entries.values()), default=None)
            try:
                await asyncio.wait_for(self._wake.wait(), None if first is None else max(first - now, 0.001))
            except TimeoutError:
                continue

    async def flush(self) -> None:
        """Write everything now, once: the process ends."""
        await asyncio.gather(*(self._write(name, self._entries.pop(name)) for name in list(self._entries)))

    async def _write(self, name: str, entry: _Entry) -> None:
        placement = self._placements.get(name)
        if placement is None or placement.resource.metadata.uid != entry.uid:
            return
        status = status_of(
            entry.report,
            previous=placement.status,
            pod_uid=self._pod_uid,
            now=format_time(datetime.now(UTC)),
        )
        patch = merge_patch(placement.status, clean(status))
        if not patch:
            return
        try:
            answer = await self._client.request(
                "patch",
                TYPE.path(self._namespace, name, "status"),
                kind=TYPE.kind,
                query={"fieldManager": "tidemill-agent"},
                body={"metadata": {"uid": entry.uid}, "status": patch},
                content_type=MERGE_PATCH,
            )
        except ApiError as error:
            if error.not_found or error.conflict:
                return  # gone, or made anew: the watch will say so
            self._again(name, entry, str(error))
        except ConnectionFailed as error:
            self._again(name, entry, str(error))
        else:
            self.writes += 1
            self._placements.store(answer)

    def _again(self, name: str, entry: _Entry, reason: str) -> None:
        failures = entry.failures + 1
        delay = min(2.0**failures, MAX_BACKOFF)
        log.warn("a placement's status cannot be written now", placement=name, reason=reason, retry_seconds=delay)
        self._entries.setdefault(name, _Entry(entry.uid, entry.report, time.monotonic() + delay, failures))
