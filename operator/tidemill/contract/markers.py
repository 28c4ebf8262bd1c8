"""Markers that travel from the pydantic models into the CRDs' structural schemas.

A rule lives beside the field it guards: CEL in the CRD for `kubectl apply`, the same wording in Python for `tidemill`'s tools.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

JsonSchema = dict[str, Any]

VALIDATIONS = "x-kubernetes-validations"
LIST_TYPE = "x-kubernetes-list-type"
_EXACTLY_ONE = ".filter(x, x).size() == 1"


def cel(rule: str, message: str, *, field: str | None = None, reason: str | None = None) -> JsonSchema:
    """One entry of x-kubernetes-validations (KEP-2876). `field` is a JSON path relative to the marked schema."""
    entry: JsonSchema = {"rule": rule, "message": message}
    if field:
        entry["fieldPath"] = field
    if reason:
        entry["reason"] = reason
    return entry


def rules(*entries: JsonSchema, **extra: Any) -> Callable[[JsonSchema], None]:
    """For `json_schema_extra`: adds CEL rules (and other x-kubernetes keys, given with underscores) to a schema."""

    def add(schema: JsonSchema) -> None:
        if entries:
            schema[VALIDATIONS] = [*schema.get(VALIDATIONS, []), *entries]
        for key, value in extra.items():
            schema[key.replace("_", "-")] = value

    return add


def exactly_one(*fields: str) -> JsonSchema:
    """A CEL rule: exactly one of these optional fields is set."""
    has = ", ".join(f"has(self.{f})" for f in fields)
    return cel(f"[{has}]{_EXACTLY_ONE}", f"set exactly one of: {', '.join(fields)}")


def is_union(schema: JsonSchema) -> bool:
    """Whether a schema is a union: exactly one of its fields is set."""
    return any(_EXACTLY_ONE in rule["rule"] for rule in schema.get(VALIDATIONS, ()))


def at_most_one(*fields: str) -> JsonSchema:
    """A CEL rule: at most one of these optional fields is set."""
    has = ", ".join(f"has(self.{f})" for f in fields)
    return cel(f"[{has}].filter(x, x).size() <= 1", f"set at most one of: {', '.join(fields)}")


def bounds() -> tuple[JsonSchema, JsonSchema]:
    """CEL rules for optional `min` and `max`."""
    return (
        cel("has(self.min) || has(self.max)", "set min, max or both"),
        cel("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not exceed max", field=".min"),
    )


def immutable(name: str) -> JsonSchema:
    """A CEL transition rule for a field that may not change once it is set."""
    return cel("self == oldSelf", f"{name} is immutable: create a new object instead")


def list_map(*keys: str) -> Callable[[JsonSchema], None]:
    """A list merged by these keys on server-side apply; duplicates are refused."""
    return rules(x_kubernetes_list_type="map", x_kubernetes_list_map_keys=list(keys))


def list_set() -> Callable[[JsonSchema], None]:
    """A list of scalars without duplicates."""
    return rules(x_kubernetes_list_type="set")


def list_atomic() -> Callable[[JsonSchema], None]:
    """A list that is replaced as a whole."""
    return rules(x_kubernetes_list_type="atomic")


def check_exactly_one(model: BaseModel, *fields: str) -> None:
    """The Python twin of `exactly_one`. Raises ValueError with the same words."""
    if sum(getattr(model, f) is not None for f in fields) != 1:
        raise ValueError(f"set exactly one of: {', '.join(fields)}")
