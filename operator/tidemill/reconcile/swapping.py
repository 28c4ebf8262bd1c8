"""What each server of an online Deployment is told to load: the swap policy, fed from the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tidemill.api.durations import parse_time
from tidemill.api.v1alpha1.common import ArtifactStatus
from tidemill.api.v1alpha1.deployment import Deployment
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.build.modelplacement import is_last_resort
from tidemill.reconcile.conditions import READY
from tidemill.reconcile.observed import Context, Observed
from tidemill.reconcile.policies.selection import usable
from tidemill.reconcile.policies.swap import Artifact, Server, Swap, choose_targets
from tidemill.reconcile.policies.variant import ORIGINAL, ServedArtifact, choose_artifact
from tidemill.reconcile.servers import Loaded
from tidemill.reconcile.serving import versions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A version's artifact."""

    version: ModelVersion
    artifact: ServedArtifact

    @property
    def key(self) -> Artifact:
        """How the policy names it."""
        return Artifact(self.version.metadata.name, self.artifact.artifact.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapping:
    """The targets by pod, those of them that are a last resort, and when a version that is waited with is tried again."""

    targets: dict[str, Target] = field(default_factory=dict)
    hold_until: datetime | None = None
    last_resort: frozenset[str] = frozenset()


def swapping(
    deployment: Deployment,
    *,
    chosen: Target,
    variant: str,
    pods: Sequence[str],
    placed: Sequence[Loaded],
    observed: Observed,
    context: Context,
) -> Swapping:
    """The targets of the chosen pods."""
    versions = {v.metadata.name: v for v in versions_of(deployment, observed) if usable(v)}
    by_pod = {p.placement.spec.pod: p for p in placed}
    last = _last(deployment, chosen.key, placed)
    earlier = _earlier(deployment, chosen, last, versions, variant)
    swap: Swap = choose_targets(
        chosen=chosen.key,
        earlier=[target.key for target in earlier],
        established=last is not None and last in (chosen.key, Artifact(chosen.version.metadata.name, "")),
        servers=[_server(pod, by_pod.get(pod)) for pod in pods],
        troubled_since=_troubled_since(deployment, chosen.version),
        now=context.now,
    )
    known = {target.key: target for target in (*earlier, chosen)}
    targets = {pod: known[key] for pod, key in swap.targets.items()}
    return Swapping(targets=targets, hold_until=swap.hold_until, last_resort=swap.last_resort)


def _server(pod: str, item: Loaded | None) -> Server:
    if item is None:
        return Server(pod=pod)
    spec, status = item.placement.spec, item.placement.status
    held = item.held
    return Server(
        pod=pod,
        placed=Artifact(spec.model_version, spec.artifact_digest),
        held=Artifact(held.model_version, held.digest) if held else None,
        answers=item.routable,
        failed=item.failed() is not None,
        attempts=status.attempts,
        last_resort=is_last_resort(item.placement),
        loaded_at=parse_time(held.loaded_at) if held else None,
    )


def _last(deployment: Deployment, chosen: Artifact, placed: Sequence[Loaded]) -> Artifact | None:
    """What all servers answered with last; without a digest when none answers now."""
    log = deployment.status.transitions
    logged = log[0].to if log else ""
    answers = {
        Artifact(p.placement.status.serving.model_version, p.placement.status.serving.digest)
        for p in placed
        if p.routable and p.placement.status.serving
    }
    if len(answers) == 1:
        return next(iter(answers))
    older = sorted((a for a in answers if a.version == logged and a != chosen), key=lambda a: a.digest)
    if older:
        return older[0]
    return Artifact(logged, "") if logged else None


def _earlier(
    deployment: Deployment, chosen: Target, last: Artifact | None, versions: dict[str, ModelVersion], variant: str
) -> list[Target]:
    """What may serve instead of the chosen artifact, what answered last first: only what is still verified."""
    found: list[Target] = []
    if last and last.digest and last != chosen.key and (version := versions.get(last.version)):
        found.append(Target(version=version, artifact=_artifact(version, last.digest, variant)))
    log = deployment.status.transitions
    if log and log[0].to == chosen.version.metadata.name:
        found.append(Target(version=chosen.version, artifact=choose_artifact(chosen.version, ORIGINAL)))
    for entry in log:
        known = {chosen.version.metadata.name, *(t.version.metadata.name for t in found)}
        if entry.to not in known and (version := versions.get(entry.to)):
            found.append(Target(version=version, artifact=choose_artifact(version, variant)))
    return list({target.key: target for target in found if target.key != chosen.key}.values())


def _artifact(version: ModelVersion, digest: str, variant: str) -> ServedArtifact:
    """The version's artifact of this digest, or, if it has none any more, the one that would be chosen now."""
    original = version.spec.artifact
    if original.digest == digest:
        return ServedArtifact(variant=ORIGINAL, artifact=ArtifactStatus(uri=original.uri, digest=digest))
    for made in version.status.variants:
        if made.artifact and made.artifact.digest == digest:
            return ServedArtifact(variant=made.name, artifact=made.artifact)
    return choose_artifact(version, variant)


def _troubled_since(deployment: Deployment, chosen: ModelVersion) -> datetime | None:
    """Since when the chosen version, if it was chosen before, does not answer on all servers."""
    ready, before = deployment.status.condition(READY), deployment.status.model_version
    if ready is None or ready.status == "True" or before is None or before.name != chosen.metadata.name:
        return None
    return parse_time(ready.last_transition_time)
