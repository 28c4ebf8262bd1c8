"""The one status write of a reconcile: a minimal merge patch under the observed resourceVersion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tidemill.kube.client import MERGE_PATCH, Client
from tidemill.kube.errors import ApiError, Stale
from tidemill.kube.resources import type_of
from tidemill.reconcile.observed import Object

_PLAIN = frozenset({str, int, bool, float})


def clean(value: Any) -> Any:
    """The value as the API server would keep it: fields without a value left out, so that equal means equal."""
    if (
        type(value) in _PLAIN
    ):  # most values are: asking an abstract type about each took a tenth of a pass that writes nothing
        return value
    if isinstance(value, Mapping):
        return {k: clean(v) for k, v in value.items() if v is not None and not _not_finite(v)}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest JSON merge patch (RFC 7396) that makes `new` of `old`; empty when they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
            continue
        before = old[key]
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            # An empty object in a merge patch changes nothing, so {} is only reached by removing every field.
            if inner := merge_patch(before, value):
                patch[key] = inner
        elif before != value or isinstance(before, bool) is not isinstance(value, bool):
            patch[key] = value
    return patch


async def write_status(client: Client, obj: Object, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Send the patch; the answer is the whole object. Raises Stale when the object has changed since."""
    meta = obj["metadata"]
    type_ = type_of(obj)
    body = {"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}, "status": patch}
    try:
        answer: dict[str, Any] = await client.request(
            "patch",
            type_.path(meta.get("namespace"), meta["name"], "status"),
            kind=type_.kind,
            query={"fieldManager": "tidemill"},
            body=body,
            content_type=MERGE_PATCH,
        )
    except ApiError as error:
        if error.conflict:
            raise Stale(str(error)) from error
        raise
    return answer
