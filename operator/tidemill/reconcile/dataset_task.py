"""What a Dataset's prepare Job is asked to do: its task with every input's place, and the Job itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tidemill.api.v1alpha1.dataset import Dataset, DatasetSpec
from tidemill.build.job import job_name, job_shape, task_job
from tidemill.build.pod import AUTHORIZATION_KEY, CREDENTIAL_KEYS, TOKEN_KEY
from tidemill.build.ray_cluster import cluster_address, join_peers
from tidemill.contract.canonical import digest as digest_of
from tidemill.contract.canonical import short
from tidemill.contract.expectations import PREVIOUS
from tidemill.contract.layout import dataset_root, inference_log_root, join
from tidemill.contract.names import GROUP
from tidemill.contract.reasons import Reason
from tidemill.contract.sources import Input
from tidemill.contract.tasks import ArtifactRef, PrepareDataset, ResolvedInferenceLog, ResolvedInput
from tidemill.reconcile.artifacts import Waiting, dataset_artifact
from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Manifest
from tidemill.reconcile.ray_cluster import lacking

ANNOTATION_UPSTREAM = f"{GROUP}/upstream"
"""On a prepare Job: the versions of Datasets that it reads, `<Dataset>=<digest>` separated by commas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a version."""

    refresh: bool
    """There is a version of this very spec, and the sources are looked at again."""
    request: str
    """What names its Job (policies.refresh.request_after)."""
    last: str | None
    """When the sources were looked at before."""
    retry: str | None
    """The value of the retry annotation that it answers."""

    @property
    def occasion(self) -> str | None:
        """What tells its task from an earlier one of the same words."""
        return " ".join(filter(None, (self.last, self.retry))) or None


def spec_digest(spec: DatasetSpec) -> str:
    """What a version is made from: the parts of the spec that decide its content.

    Without what is at its default, so that a field which a later operator brings does not have everything prepared anew.
    """
    parts = {"inputs", "transform", "expectations", "max_quarantined", "split", "profile"}
    return digest_of(
        spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True, include=parts)
    )


def shape(dataset: Dataset, context: Context) -> str:
    """What shapes the Job's pod but not its result."""
    spec, settings = dataset.spec, context.settings
    pod = job_shape(
        image=image_of(spec, context),
        resources=spec.resources,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
    )
    return pod if spec.ray is None else short(digest_of([pod, spec.ray.model_dump(mode="json")]))


def image_of(spec: DatasetSpec, context: Context) -> str:
    """Only engine Ray needs Ray's library; empty when the installation has no such image."""
    return context.settings.images.worker if spec.ray is None else context.settings.images.ray


def secrets_of(spec: DatasetSpec) -> dict[str, tuple[str, ...]]:
    """The Secrets that the Job reads besides the store's own, with the keys that are read of them."""
    found = input_secrets(spec.inputs)
    if spec.ray is not None and (name := spec.ray.secret_name):
        found[name] = tuple(sorted({*found.get(name, ()), TOKEN_KEY}))
    return found


def input_secrets(inputs: Iterable[Input]) -> dict[str, tuple[str, ...]]:
    """The Secrets that inputs name besides the store's own, with the keys that are read of them."""
    found: dict[str, tuple[str, ...]] = {}
    for item in inputs:
        stored = item.s3 or (item.inference_log.labels.s3 if item.inference_log and item.inference_log.labels else None)
        for source, keys in ((stored, CREDENTIAL_KEYS), (item.http, (AUTHORIZATION_KEY,))):
            if source is not None and source.secret_name:
                found[source.secret_name] = tuple(sorted({*found.get(source.secret_name, ()), *keys}))
    return found


def input_claims(inputs: Iterable[Input]) -> set[str]:
    """The PersistentVolumeClaims that inputs read."""
    return {item.volume.claim_name for item in inputs if item.volume}


def resolve_inputs(dataset: Dataset, observed: Observed, context: Context) -> tuple[ResolvedInput, ...] | Waiting:
    """Where every input lies, or what is waited for."""
    namespace = dataset.metadata.namespace
    if not image_of(dataset.spec, context):
        text = "spec.engine: this installation has no image with Ray: set images.ray of its chart, or use engine Local"
        return Waiting(reason=Reason.INVALID_SPEC, message=text, stalled=True)
    if missing := lacking(dataset.spec, observed):
        return missing
    resolved: list[ResolvedInput] = []
    for item in dataset.spec.inputs:
        if source := item.dataset:
            field = f"spec.inputs[{item.name}].dataset"
            if source.name == dataset.metadata.name and source.digest is None:
                text = f"{field}: a Dataset cannot be made of its own newest version: name another one, or fix a digest"
                return Waiting(reason=Reason.INVALID_SPEC, message=text, stalled=True)
            found = dataset_artifact(
                observed,
                namespace=namespace,
                name=source.name,
                digest=source.digest,
                field=field,
                reason=Reason.WAITING_FOR_INPUT,
            )
            if isinstance(found, Waiting):
                return found
            resolved.append(ResolvedInput(name=item.name, dataset=found))
        elif item.inference_log:
            root = inference_log_root(context.settings.store.bucket, namespace, item.inference_log.deployment)
            log = ResolvedInferenceLog(root=root, source=item.inference_log)
            resolved.append(ResolvedInput(name=item.name, inference_log=log))
        else:
            resolved.append(ResolvedInput(name=item.name, s3=item.s3, http=item.http, volume=item.volume))
    return tuple(resolved)


def upstream_of(dataset: Dataset, inputs: Iterable[ResolvedInput]) -> str:
    """The Dataset versions among the inputs, as ANNOTATION_UPSTREAM says them; empty when there are none."""
    names = {item.name: item.dataset.name for item in dataset.spec.inputs if item.dataset}
    return ",".join(f"{names[item.name]}={item.dataset.digest}" for item in inputs if item.dataset)


def upstream_read_by(job: Object) -> Iterator[tuple[str, str]]:
    """(Dataset, digest) of the versions that a prepare Job reads."""
    text: str = (job["metadata"].get("annotations") or {}).get(ANNOTATION_UPSTREAM, "")
    for pair in filter(None, text.split(",")):
        name, _, version = pair.partition("=")
        yield name, version


def prepare_job(dataset: Dataset, inputs: tuple[ResolvedInput, ...], attempt: Attempt, context: Context) -> Manifest:
    """The Job of an attempt."""
    spec, settings, status = dataset.spec, context.settings, dataset.status
    root = dataset_root(settings.store.bucket, dataset.metadata.namespace, dataset.metadata.name)
    task = PrepareDataset(
        owner=dataset.ref,
        root=root,
        inputs=inputs,
        transform=spec.transform,
        expectations=spec.expectations,
        max_quarantined=spec.max_quarantined,
        split=spec.split,
        profile=spec.profile,
        ray=spec.ray,
        previous=ArtifactRef(uri=status.uri, digest=status.digest) if status.uri and status.digest else None,
        earlier=tuple(version_ref(root, digest) for digest in held_against(spec)) or None,
        known_sources=status.source_digest if attempt.refresh else None,
        occasion=attempt.occasion,
    )
    own = spec.ray if spec.ray and spec.ray.cluster else None
    if own:
        name = job_name(dataset.ref, "prepare", task, attempt.request, attempt.retry)
        address = cluster_address(name, dataset.metadata.namespace, settings)
        task = task.model_copy(update={"ray": own.model_copy(update={"address": address})})
    job = task_job(
        owner=dataset.ref,
        what="prepare",
        task=task,
        image=image_of(spec, context),
        resources=spec.resources,
        options=spec.job,
        settings=settings,
        placement=spec.placement,
        secrets=secrets_of(spec),
        claims=input_claims(spec.inputs),
        request=attempt.request,
        retry=attempt.retry,
        shape=shape(dataset, context),
    )
    if own:
        join_peers(job)
    if upstream := upstream_of(dataset, inputs):
        job["metadata"]["annotations"][ANNOTATION_UPSTREAM] = upstream
    return job


def held_against(spec: DatasetSpec) -> list[str]:
    """The versions of this Dataset that distributions are held against by their digest."""
    found = {e.distribution.against for e in spec.expectations if e.distribution}
    return sorted(found - {PREVIOUS})


def version_ref(root: str, version: str) -> ArtifactRef:
    """A version of a Dataset by its digest: its folder is named after it."""
    return ArtifactRef(uri=join(root, version.removeprefix("sha256:")), digest=version)
