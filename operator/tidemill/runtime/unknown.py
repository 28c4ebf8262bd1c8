"""Fields of a spec that this version of the operator does not know: an object of a newer or older version of the CRDs.

Such an object is reconciled by what is known of it. That the rest has no effect is said, once for each generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from tidemill.api.v1alpha1 import KINDS
from tidemill.reconcile.observed import Object
from tidemill.reconcile.plan import Key
from tidemill.reconcile.typed import typed

_MOST = 5


class UnknownFields:
    """Remembers which generation of which object was looked at."""

    def __init__(self) -> None:
        self._looked_at: dict[Key, tuple[str, int]] = {}

    def news(self, key: Key, obj: Object) -> str:
        """What is to be said of the object's fields; '' when there is nothing to say, or it was said."""
        meta = obj["metadata"]
        now = meta["uid"], int(meta.get("generation") or 0)
        if self._looked_at.get(key) == now:
            return ""
        self._looked_at[key] = now
        found = unknown_fields(obj)
        if not found:
            return ""
        named = ", ".join(found[:_MOST]) + (f" and {len(found) - _MOST} more" if len(found) > _MOST else "")
        return f"this version of the operator does not know {named}: upgrade it, or remove them; they have no effect"

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._looked_at.pop(key, None)


def unknown_fields(obj: Object) -> list[str]:
    """The paths of the fields of the spec that the kind's model does not have."""
    try:
        model: BaseModel = typed(KINDS[obj["kind"]], obj)  # reconciling reads the same one
    except ValidationError:
        return []  # reconciling says what is wrong with it
    return sorted(_unknown(obj.get("spec") or {}, getattr(model, "spec", None), "spec"))


def _unknown(raw: Any, known: Any, path: str) -> Iterator[str]:
    if isinstance(known, BaseModel) and isinstance(raw, Mapping):
        fields = _fields(type(known))
        for key, value in raw.items():
            if key in fields:
                yield from _unknown(value, getattr(known, fields[key]), f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(known, list | tuple) and isinstance(raw, list):
        for index, (value, item) in enumerate(zip(raw, known, strict=False)):
            yield from _unknown(value, item, f"{path}[{index}]")
    elif isinstance(known, Mapping) and isinstance(raw, Mapping):
        for key, value in raw.items():
            yield from _unknown(value, known.get(key), f"{path}.{key}")


@cache
def _fields(model: type[BaseModel]) -> dict[str, str]:
    return {field.alias or name: name for name, field in model.model_fields.items()}
