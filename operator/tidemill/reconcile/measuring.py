"""What a DriftPolicy's newest reading says: the monitors, and whether they can be judged at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tidemill.api.durations import format_time, parse_time, seconds
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.driftpolicy import DriftPolicy, MonitorStatus
from tidemill.contract.reasons import Reason
from tidemill.reconcile.observed import DriftReading
from tidemill.reconcile.policies.drift import judge, trigger, unknown_features, unmeasured


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """An evaluation. `state` Old: there is no new one, the last still stands."""

    state: Literal["Measured", "Unmeasured", "Old"]
    reason: Reason
    message: str
    monitors: tuple[MonitorStatus, ...]
    samples: int | None = None
    evaluated_at: datetime | None = None
    trigger: MonitorStatus | None = None
    """The monitor that has drifted long enough, if one has."""

    def drifted_at(self, interval: str) -> str | None:
        """The time of the first of the evaluations that drifted in a row."""
        if self.trigger is None or self.evaluated_at is None:
            return None
        return format_time(self.evaluated_at - timedelta(seconds=(self.trigger.consecutive - 1) * seconds(interval)))


def measure(policy: DriftPolicy, deployment: Deployment, reading: DriftReading | None) -> Measurement:
    """Judge the reading, if there is one of the version that serves."""
    spec, serving = policy.spec, deployment.status.serving
    none_known = tuple(unmeasured(m) for m in spec.monitors)
    same_version = serving is not None and policy.status.version == serving
    kept = _kept(policy) if same_version else none_known
    if serving is None:
        return _not(
            Reason.WAITING_FOR_MODEL, f"Deployment {spec.deployment} does not answer yet: see its conditions", kept
        )
    if reading is None or (reading.error is None and reading.evaluated_at < _serves_since(deployment)):
        before = policy.status.condition("Measured")
        if same_version and before and before.reason != Reason.PENDING:
            return Measurement(state="Old", reason=Reason(before.reason), message=before.message, monitors=kept)
        return _not(Reason.PENDING, f"the first evaluation of {serving.name} follows within {spec.interval}", kept)
    if reading.error is not None:
        message = f"{reading.error.rstrip('.')}; nothing is done until Prometheus answers, the last scores stay"
        return _not(Reason.PROMETHEUS_UNREACHABLE, message, kept)
    samples = round(reading.samples)
    if samples == 0:
        message = (
            f"no sampled request of {serving.name} in the last {spec.window}: check that clients send requests, that "
            f"spec.online.samplingPercent of Deployment {spec.deployment} is above 0, and that Prometheus scrapes the pool"
        )
        return _not(Reason.NO_DATA, message, none_known, reading)
    if samples < spec.min_samples:
        message = (
            f"fewer than {spec.min_samples} sampled requests (spec.minSamples) of {serving.name} in the last {spec.window}: "
            "nothing is judged"
        )
        return _not(Reason.TOO_FEW_SAMPLES, message, none_known, reading)
    return _judged(policy, serving.name, reading)


def _judged(policy: DriftPolicy, serving: str, reading: DriftReading) -> Measurement:
    spec = policy.spec
    monitors = tuple(judge(m, reading, for_consecutive=spec.for_consecutive) for m in spec.monitors)
    silent = [m for m, status in zip(spec.monitors, monitors, strict=True) if status.score is None]
    if len(silent) == len(monitors):
        message = f"Prometheus has no score of {serving} for {_silence(policy, reading)}"
        return _not(Reason.NO_DATA, message, monitors, reading)
    message = f"{len(monitors) - len(silent)} of {len(monitors)} monitors have scores of {serving}"
    unknown = {m.name: names for m in spec.monitors if (names := unknown_features(m, reading))}
    if unknown:
        message += f"; no score for {_silence(policy, reading)}"
    return Measurement(
        state="Measured",
        reason=Reason.WATCHING,
        message=message,
        monitors=monitors,
        samples=round(reading.samples),
        evaluated_at=reading.evaluated_at,
        trigger=trigger(monitors, for_consecutive=spec.for_consecutive),
    )


def _silence(policy: DriftPolicy, reading: DriftReading) -> str:
    """Which monitor lacks which features, and the way out."""
    parts = [
        f"monitor {m.name}: {', '.join(names[:5])}"
        for m in policy.spec.monitors
        if (names := unknown_features(m, reading) or ([] if m.features else ["any feature"]))
    ]
    return "; ".join(parts) + " (features are the model's inputs and prediction.<output>: check spec.monitors)"


def _not(
    reason: Reason, message: str, monitors: tuple[MonitorStatus, ...], reading: DriftReading | None = None
) -> Measurement:
    samples = round(reading.samples) if reading else None
    at = reading.evaluated_at if reading else None
    return Measurement(
        state="Unmeasured", reason=reason, message=message, monitors=monitors, samples=samples, evaluated_at=at
    )


def _kept(policy: DriftPolicy) -> tuple[MonitorStatus, ...]:
    """The last scores of the monitors that the spec still has."""
    last = {m.name: m for m in policy.status.monitors}
    return tuple(
        last[m.name] if m.name in last and last[m.name].metric == m.metric else unmeasured(m)
        for m in policy.spec.monitors
    )


def _serves_since(deployment: Deployment) -> datetime:
    """Since when the serving version serves: an evaluation from before speaks of another one."""
    log = deployment.status.transitions
    return parse_time(log[0].at) if log else datetime.min.replace(tzinfo=parse_time("1970-01-01T00:00:00Z").tzinfo)
