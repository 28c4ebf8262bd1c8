"""pydantic's JSON schema → the structural OpenAPI v3 schema of a CRD: references inlined, no titles, no nulls.

What the API server fills in is decided here, too. A default is written into stored objects only when a later apply can
still replace it: scalars, atomic lists, and objects of such. A default that picks a member of a union, or puts elements
into a list that server-side apply merges, would stay beside what the user asks for later; such defaults are applied when
the object is read (by the pydantic model), and the field's description names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from tidemill.contract.markers import LIST_TYPE, VALIDATIONS, JsonSchema, is_union

_ORDER = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "required",
    "properties",
    "items",
    "additionalProperties",
    "x-kubernetes-validations",
)
_LENIENT = ("pattern", "minLength", "maxLength", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
_INT32_MAX = 2**31 - 1


def structural(model: type[BaseModel], *, lenient: bool = False) -> JsonSchema:
    """The structural schema of a pydantic model.

    `lenient` is for statuses: types, enums and list sizes stay, defaults, bounds, patterns and required fields (other than
    the keys of lists) go, so that no wording of a message can keep a controller from reporting.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _Translation(definitions=raw.pop("$defs", {}), lenient=lenient).schema(raw)


class _Translation:
    """One run over a schema and its definitions."""

    def __init__(self, *, definitions: Mapping[str, JsonSchema], lenient: bool) -> None:
        self._definitions = definitions
        self._lenient = lenient

    def schema(self, raw: JsonSchema) -> JsonSchema:
        """The structural form of one schema."""
        out = self._flat(raw)
        out.pop("title", None)
        default = out.pop("default", None)
        if "properties" in out:
            out["properties"] = {name: self.schema(sub) for name, sub in out["properties"].items()}
        if "items" in out:
            out["items"] = self.schema(out["items"])
        if isinstance(out.get("additionalProperties"), dict):
            out["additionalProperties"] = self.schema(out["additionalProperties"])
        else:
            out.pop("additionalProperties", None)
        if "description" in out:
            out["description"] = _text(out["description"])
        _const(out)
        _bounds(out)
        _integer(out)
        if self._lenient:
            self._relax(out)
        elif default is not None:
            _default(out, default)
        unknown = set(out) - set(_ORDER)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: no place for this in a structural schema")
        return {key: out[key] for key in _ORDER if key in out}

    def _flat(self, raw: JsonSchema) -> JsonSchema:
        """The schema with its reference or its `X | None` merged into it.

        What stands beside the reference wins, but a field's description goes before its model's.
        """
        out = dict(raw)
        if "anyOf" in out:
            choices = [c for c in out.pop("anyOf") if c.get("type") != "null"]
            if len(choices) != 1:
                raise ValueError(f"a union of {len(choices)} types has no structural schema: {raw}")
            return self._merge(self._flat(choices[0]), out)
        if "$ref" in out:
            target = self._definitions[out.pop("$ref").removeprefix("#/$defs/")]
            return self._merge(self._flat(target), out)
        return out

    @staticmethod
    def _merge(base: JsonSchema, over: JsonSchema) -> JsonSchema:
        merged = {**base, **over}
        said = [s["description"] for s in (over, base) if s.get("description")]
        if said:
            merged["description"] = "\n\n".join(said)
        found = [*base.get(VALIDATIONS, ()), *over.get(VALIDATIONS, ())]
        if found:
            merged[VALIDATIONS] = found
        return merged

    @staticmethod
    def _relax(out: JsonSchema) -> None:
        for key in (*_LENIENT, "required", VALIDATIONS):
            out.pop(key, None)
        if out.get(LIST_TYPE) == "map":
            out["items"] = dict(out["items"])
            out["items"]["required"] = list(out["x-kubernetes-list-map-keys"])
            out["items"] = {key: out["items"][key] for key in _ORDER if key in out["items"]}


def _text(description: str) -> str:
    """A docstring as one paragraph: `kubectl explain` breaks lines by itself."""
    return " ".join(description.split())


def _const(out: JsonSchema) -> None:
    if "const" in out:
        out["enum"] = [out.pop("const")]


def _bounds(out: JsonSchema) -> None:
    """JSON Schema's numeric exclusive bounds → OpenAPI's boolean ones."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in out:
            out[bound], out[exclusive] = out[exclusive], True


def _integer(out: JsonSchema) -> None:
    if out.get("type") == "integer":
        small = out.get("maximum", _INT32_MAX + 1) <= _INT32_MAX
        out["format"] = "int32" if small else "int64"


def _default(out: JsonSchema, default: Any) -> None:
    """Keep the default where it can be replaced later, else say it in the description."""
    kind = out["type"]
    transition = any("oldSelf" in rule["rule"] for rule in out.get(VALIDATIONS, ()))
    value = minimal(default, out)
    if kind == "object" and "properties" in out:
        if is_union(out):
            _mention(out, value)
        elif value or transition or _has_defaults(out):
            out["default"] = value
    elif kind in ("array", "object"):
        if not value:
            # An immutable field must be there, or adding it later would be no change in the eyes of its rule.
            if transition:
                out["default"] = value
        elif out.get(LIST_TYPE) == "atomic":
            out["default"] = value
        else:
            _mention(out, value)
    else:
        out["default"] = value


def _mention(out: JsonSchema, value: Any) -> None:
    said = f"By default {_spell(value)}."
    out["description"] = f"{out['description']} {said}" if out.get("description") else said


def _spell(value: Any) -> str:
    """A default in YAML's flow style, as a user would write it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_spell(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_spell(v) for v in value) + "]"
    return str(value)


def _has_defaults(schema: JsonSchema) -> bool:
    return any("default" in sub for sub in schema.get("properties", {}).values())


def minimal(value: Any, schema: JsonSchema) -> Any:
    """A default without nulls and without what the schema's nested defaults say anyway.

    An object with rules keeps all its values: the API server tries them on a default before nested ones are filled in.
    """
    if isinstance(value, (list, tuple)):
        return [minimal(v, schema.get("items", {})) for v in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties")
    if properties is None:
        return {k: v for k, v in value.items() if v is not None}
    out = {}
    for key, item in value.items():
        sub = properties.get(key, {})
        small = minimal(item, sub)
        if item is None or (small in ([], {}) and not is_union(schema)):
            continue
        if small == sub.get("default") and VALIDATIONS not in schema:
            continue
        out[key] = small
    return out
