"""Deployment, mode Online: the model's version on server pods of a pool, reached through one Service.

A version change only rewrites the placements, the first server's before the others': each agent loads and checks the new
version before it swaps, so what answered goes on answering. Clients are sent to the pods that say they have the model
loaded, and to no other.
"""

from __future__ import annotations

from tidemill.api.v1alpha1.common import VersionReference
from tidemill.api.v1alpha1.deployment import Deployment, Endpoints, Online
from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.api.v1alpha1.servingpool import ServingPool
from tidemill.build.endpointslice import ANNOTATION_ENDPOINTS, address_type, endpoint_slice, slice_name
from tidemill.build.modelplacement import model_placement
from tidemill.build.service import deployment_host, deployment_service
from tidemill.contract.names import TRITON_GRPC_PORT, TRITON_HTTP_PORT
from tidemill.contract.reasons import Reason
from tidemill.reconcile.conditions import READY, ConditionSet, finish
from tidemill.reconcile.observed import Context, Observed
from tidemill.reconcile.online_conditions import AVAILABLE, Situation, describe
from tidemill.reconcile.plan import Child, Event, Key, Manifest, Plan
from tidemill.reconcile.policies.placement import Placement, choose_servers
from tidemill.reconcile.policies.variant import ServedArtifact, choose_artifact
from tidemill.reconcile.servers import Loaded, addresses, candidates, placements_of
from tidemill.reconcile.serving import choose, log_serving, reference
from tidemill.reconcile.swapping import Swapping, Target, swapping
from tidemill.reconcile.typed import typed

TRACK = "stable"


def reconcile_online(deployment: Deployment, online: Online, observed: Observed, context: Context) -> Plan:
    """One pass over an online Deployment."""
    generation = deployment.metadata.generation
    choice, version = choose(deployment, observed)
    artifact = choose_artifact(version, online.variant) if version else None
    pool = _pool(deployment, online, observed)
    placed = placements_of(deployment.metadata.uid, deployment.metadata.namespace, observed, track=TRACK)
    servers = _servers(deployment, online, pool, placed, observed, context)

    wanted = {p.placement.spec.pod: p for p in placed if p.placement.spec.pod in servers.pods}
    loaded = _loaded(wanted, version, artifact)
    complete = bool(servers.pods) and all(pod in wanted and wanted[pod].routable for pod in servers.pods)
    leaving = [p for p in placed if p.placement.spec.pod not in servers.pods]
    retired = [p for p in leaving if complete or p.pod is None]
    kept = [p for p in placed if p not in retired]

    slice_ = _slice(deployment, kept, observed)
    children = [Child(manifest=deployment_service(deployment))]
    children += [Child(manifest=slice_)] if slice_ else []
    swap = Swapping()
    if version and artifact:  # without a version the placements stay as they are: what serves goes on serving
        chosen = Target(version=version, artifact=artifact)
        swap = swapping(
            deployment,
            chosen=chosen,
            variant=online.variant,
            pods=servers.pods,
            placed=placed,
            observed=observed,
            context=context,
        )
    for pod, target in swap.targets.items():
        manifest = _placement(deployment, online, pod, target, last_resort=pod in swap.last_resort)
        children.append(Child(manifest=manifest))

    status, events = log_serving(deployment, _serving(deployment, kept), observed, context)
    conditions = ConditionSet(deployment.status, generation=generation, now=context.now)
    situation = Situation(
        deployment=deployment,
        online=online,
        choice=choice,
        version=version,
        artifact=artifact,
        pool=pool,
        servers=servers,
        swap=swap,
        placed=tuple(kept),
        loaded=len(loaded),
        serving=status.serving,
    )
    describe(situation, conditions)
    status = status.model_copy(
        update={
            "model_version": reference(version) if version else None,
            "variant": _variant(kept),
            "endpoints": _endpoints(deployment, context),
            "replicas": len(loaded),
        }
    )
    return Plan(
        children=tuple(children),
        deletes=tuple(_key(p) for p in retired if not p.routable or _drained(deployment, slice_, observed)),
        status=finish(status, conditions, generation=generation),
        events=(*events, *_warnings(deployment, conditions)),
        requeue_after=_earliest(servers.reconsider_after, swap, context),
    )


def _pool(deployment: Deployment, online: Online, observed: Observed) -> ServingPool | None:
    obj = observed.get("ServingPool", deployment.metadata.namespace, online.pool)
    return typed(ServingPool, obj) if obj else None


def _servers(
    deployment: Deployment,
    online: Online,
    pool: ServingPool | None,
    placed: list[Loaded],
    observed: Observed,
    context: Context,
) -> Placement:
    if pool is None:
        return Placement(pods=(), shortage="Servers")
    name = deployment.metadata.name
    return choose_servers(
        deployment=name,
        replicas=online.replicas,
        servers=candidates(pool, observed, deployment=deployment, now=context.now),
        holding={p.placement.spec.pod for p in placed},
        capacity=pool.spec.capacity.models,
    )


def _loaded(wanted: dict[str, Loaded], version: ModelVersion | None, artifact: ServedArtifact | None) -> list[Loaded]:
    """Those of the wanted placements that answer with the chosen artifact."""
    if version is None or artifact is None:
        return []
    name, digest = version.metadata.name, artifact.artifact.digest
    return [p for p in wanted.values() if p.serves(model_version=name, digest=digest)]


def _placement(deployment: Deployment, online: Online, pod: str, target: Target, *, last_resort: bool) -> Manifest:
    return model_placement(
        deployment,
        online,
        pod=pod,
        version=target.version,
        variant=target.artifact.variant,
        artifact=target.artifact.artifact,
        track=TRACK,
        last_resort=last_resort,
    )


def _earliest(after: float | None, swap: Swapping, context: Context) -> float | None:
    """When the pass must come again by itself."""
    held = (swap.hold_until - context.now).total_seconds() if swap.hold_until else None
    return min((seconds for seconds in (after, held) if seconds is not None), default=None)


def _slice(deployment: Deployment, kept: list[Loaded], observed: Observed) -> Manifest | None:
    """The EndpointSlice of the pods that have the model loaded; none is made before there is the first such pod."""
    pods = addresses(kept)
    if pods:
        return endpoint_slice(deployment, track=TRACK, family=address_type(pods[0][1]), pods=pods)
    said = _listed(deployment, observed)
    return endpoint_slice(deployment, track=TRACK, family=said.partition("/")[0], pods=()) if said else None


def _listed(deployment: Deployment, observed: Observed) -> str:
    """What the slice in the cluster says that it lists; empty when there is none."""
    meta = deployment.metadata
    found = observed.get("EndpointSlice", meta.namespace, slice_name(meta.name, TRACK))
    annotations = (found or {}).get("metadata", {}).get("annotations") or {}
    return str(annotations.get(ANNOTATION_ENDPOINTS, ""))


def _drained(deployment: Deployment, slice_: Manifest | None, observed: Observed) -> bool:
    """Whether the slice in the cluster already leaves out the pods that are to go: only then may they unload."""
    wanted = slice_["metadata"]["annotations"][ANNOTATION_ENDPOINTS] if slice_ else ""
    return _listed(deployment, observed) == wanted


def _serving(deployment: Deployment, kept: list[Loaded]) -> VersionReference | None:
    """The version that all pods answer with; while two do, the one that was logged last."""
    found: dict[str, VersionReference] = {}
    for item in kept:
        if item.routable and (served := item.placement.status.serving):
            found[served.model_version] = VersionReference(name=served.model_version, version=served.version)
    if len(found) == 1:
        return next(iter(found.values()))
    return deployment.status.serving if found else None


def _variant(kept: list[Loaded]) -> str | None:
    """The variant of what answers, both names while two do."""
    found = sorted({p.placement.status.serving.variant for p in kept if p.routable and p.placement.status.serving})
    return ", ".join(found) or None


def _endpoints(deployment: Deployment, context: Context) -> Endpoints:
    host = deployment_host(deployment, context.settings)
    return Endpoints(http=f"http://{host}:{TRITON_HTTP_PORT}", grpc=f"{host}:{TRITON_GRPC_PORT}")


def _key(loaded: Loaded) -> Key:
    meta = loaded.placement.metadata
    return Key(kind="ModelPlacement", namespace=meta.namespace, name=meta.name)


def _warnings(deployment: Deployment, conditions: ConditionSet) -> tuple[Event, ...]:
    """An event when something has begun to be wrong: a load failed, or the model stopped answering."""
    events: list[Event] = []
    for now in conditions.build():
        before = deployment.status.condition(now.type)
        if now.type == READY and now.reason in (Reason.LOAD_FAILED, Reason.NO_CAPACITY):
            if before is None or before.reason != now.reason:
                events.append(Event(reason=now.reason, message=now.message, type="Warning"))
        elif now.type == AVAILABLE and now.status == "False" and before and before.status == "True":
            events.append(Event(reason=now.reason, message=now.message, type="Warning"))
    return tuple(events)
