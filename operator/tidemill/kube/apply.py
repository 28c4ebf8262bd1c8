"""Children: created once, applied when their digest differs, never taken from somebody else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from tidemill.contract.names import ANNOTATION_DIGEST, FIELD_MANAGER, MANAGED_BY, MANAGED_BY_VALUE
from tidemill.kube.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, Client
from tidemill.kube.errors import ApiError, ChildConflict, Stale
from tidemill.kube.managedfields import hand_over, posted_entry
from tidemill.kube.resources import ResourceType, type_of
from tidemill.reconcile.observed import Object
from tidemill.reconcile.plan import Child, Key, Manifest, Patch


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a child."""

    action: Literal["none", "created", "applied"]
    object: Object | None = None
    """As the API server returned it; None when nothing was sent."""


def complete(child: Child, owner: Object) -> tuple[Manifest, str]:
    """The manifest with label, ownerReference and digest annotation, and the digest."""
    manifest = dict(child.manifest)
    meta = dict(manifest["metadata"])
    meta["labels"] = {**(meta.get("labels") or {}), MANAGED_BY: MANAGED_BY_VALUE}
    if child.owned:
        meta["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]
    manifest["metadata"] = meta
    digest = hashlib.sha256(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
    meta["annotations"] = {**(meta.get("annotations") or {}), ANNOTATION_DIGEST: digest}
    return manifest, digest


async def ensure(
    client: Client, child: Child, *, owner: Object, existing: Object | None, edited: bool, posted: int | None
) -> Applied:
    """Bring a child about: by POST when it is missing, by server-side apply when it differs.

    `existing` is what the cache knows, `edited` that somebody else changed its spec, `posted` where the fields are that
    a POST left with it (kube.managedfields).

    Raises ChildConflict when the name is taken by an object that is not ours, Stale when the cache is behind.
    """
    manifest, digest = complete(child, owner)
    if existing is None:
        try:
            created = await _create(client, child.key, manifest)
        except ApiError as error:
            if not error.conflict:
                raise
            existing = await _read(client, type_of(manifest), child.key)
            if existing is None:  # gone between the two calls: the next pass creates it
                raise
            posted = posted_entry(existing)
        else:
            return Applied("created", created)
        orphaned = _require_ours(child, existing, owner, digest)
        if not orphaned and (child.mode == "create" or _digest(existing) == digest):
            return Applied("none", existing)
    else:
        orphaned = _require_ours(child, existing, owner, digest)
        if not orphaned and (child.mode == "create" or (_digest(existing) == digest and not edited)):
            return Applied("none")
    if existing["metadata"].get("deletionTimestamp"):
        return Applied("none")  # it is made anew when it is gone
    if child.mode == "create":
        return Applied("applied", await _adopt(client, existing, manifest["metadata"]["ownerReferences"]))
    meta = {**manifest["metadata"], "uid": existing["metadata"]["uid"]}
    if posted is not None:
        await _hand_over(client, child.key, manifest, posted)
    return Applied("applied", await _apply(client, {**manifest, "metadata": meta}, FIELD_MANAGER))


async def apply_patch(client: Client, patch: Patch) -> dict[str, Any]:
    """Server-side apply of a few fields on an object that is not a child."""
    return await _apply(client, patch.manifest, patch.field_manager)


async def delete(client: Client, key: Key, existing: Object) -> dict[str, Any] | None:
    """Delete exactly the object that was observed. None when it is gone, or is another one by now.

    A JobSet stays until its Job is gone: JobSet's controller knows Jobs by name, and would take the end of the last one for
    that of a JobSet made anew.
    """
    type_ = type_of(existing)
    body = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Foreground" if type_.kind == "JobSet" else "Background",
        "preconditions": {"uid": existing["metadata"]["uid"]},
    }
    try:
        answer: dict[str, Any] = await client.request(
            "delete", type_.path(key.namespace, key.name), kind=type_.kind, body=body
        )
    except ApiError as error:
        if error.not_found or error.conflict:
            return None
        raise
    return answer


async def _create(client: Client, key: Key, manifest: Manifest) -> dict[str, Any]:
    type_ = type_of(manifest)
    answer: dict[str, Any] = await client.request(
        "create",
        type_.path(key.namespace),
        kind=type_.kind,
        query={"fieldManager": FIELD_MANAGER},
        body=manifest,
    )
    return answer


async def _hand_over(client: Client, key: Key, manifest: Manifest, posted: int) -> None:
    type_ = type_of(manifest)
    try:
        await client.request(
            "patch",
            type_.path(key.namespace, key.name),
            kind=type_.kind,
            query={"fieldManager": FIELD_MANAGER},
            body=hand_over(posted),
            content_type=JSON_PATCH,
        )
    except ApiError as error:
        if error.status == 422:  # a test of the patch: somebody has written since
            raise Stale(str(error)) from error
        raise


async def _apply(client: Client, manifest: Mapping[str, Any], manager: str) -> dict[str, Any]:
    type_ = type_of(manifest)
    meta = manifest["metadata"]
    answer: dict[str, Any] = await client.request(
        "apply",
        type_.path(meta.get("namespace"), meta["name"]),
        kind=type_.kind,
        query={"fieldManager": manager, "force": "true"},
        body=manifest,
        content_type=APPLY_PATCH,
    )
    return answer


async def _adopt(client: Client, existing: Object, owners: list[dict[str, Any]]) -> dict[str, Any]:
    """Give a child its ownerReference back, and nothing else: most of what is created once cannot be changed."""
    type_, meta = type_of(existing), existing["metadata"]
    precondition = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    answer: dict[str, Any] = await client.request(
        "patch",
        type_.path(meta.get("namespace"), meta["name"]),
        kind=type_.kind,
        query={"fieldManager": FIELD_MANAGER},
        body={"metadata": {**precondition, "ownerReferences": owners}},
        content_type=MERGE_PATCH,
    )
    return answer


async def _read(client: Client, type_: ResourceType, key: Key) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = await client.request("get", type_.path(key.namespace, key.name), kind=type_.kind)
    except ApiError as error:
        if error.not_found:
            return None
        raise
    return found


def _digest(obj: Object) -> str | None:
    value: str | None = (obj["metadata"].get("annotations") or {}).get(ANNOTATION_DIGEST)
    return value


def _require_ours(child: Child, existing: Object, owner: Object, digest: str) -> bool:
    """Whether it is ours and somebody took its ownerReference away. Raises ChildConflict when it is not ours."""
    references = existing["metadata"].get("ownerReferences") or ()
    controller = next((r for r in references if r.get("controller")), None)
    if child.owned:
        if controller is not None and controller.get("uid") == owner["metadata"]["uid"]:
            return False
        if controller is None:
            made = _digest(existing)
            if made == digest or (made is not None and child.mode == "apply"):
                return True
            raise ChildConflict(child.key, "nobody that Tidemill knows")
        former = controller.get("kind") == owner["kind"] and controller.get("name") == owner["metadata"]["name"]
        name = f"{controller.get('kind')} {controller.get('name')}"
        raise ChildConflict(child.key, f"an earlier {name} that is being removed" if former else name)
    if child.mode == "create" and _digest(existing) != digest:
        raise ChildConflict(child.key, "another creator")
    return False
