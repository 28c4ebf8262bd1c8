"""A kind's CustomResourceDefinition, from its pydantic model and its `Names`. Written to crds/ by hack/gen-crds."""

from __future__ import annotations

from typing import Any

from tidemill.api.base import Column, Names, Resource
from tidemill.api.structural import structural
from tidemill.contract.markers import VALIDATIONS, JsonSchema
from tidemill.contract.names import GROUP, VERSION

CATEGORY = "tidemill"
LABELS = {"app.kubernetes.io/name": "tidemill", "app.kubernetes.io/part-of": "tidemill"}
API_VERSION_TEXT = "The version of the API that the object is written in."
KIND_TEXT = "The kind of the object."
NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
NAME_LIMIT = 63
"""Names are DNS labels, since other resources, labels and Services refer to them."""


def crd(kind: type[Resource[Any, Any]]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind, as a plain dict in a stable order."""
    names = kind.NAMES
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.crd_name, "labels": dict(LABELS)},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": names.kind,
                "listKind": f"{names.kind}List",
                "plural": names.plural,
                "singular": names.singular,
                "shortNames": list(names.short),
                "categories": [CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": _subresources(names),
                    "additionalPrinterColumns": [_column(c) for c in names.columns],
                    "schema": {"openAPIV3Schema": schema(kind)},
                }
            ],
        },
    }


def schema(kind: type[Resource[Any, Any]]) -> JsonSchema:
    """The kind's whole structural schema: strict for spec, lenient for status."""
    root: JsonSchema = {
        "description": " ".join((kind.__doc__ or "").split()),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": API_VERSION_TEXT, "type": "string"},
            "kind": {"description": KIND_TEXT, "type": "string"},
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_LIMIT}},
            },
            "spec": structural(part(kind, "spec")),
            "status": structural(part(kind, "status"), lenient=True),
        },
    }
    if kind.NAMES.rules:
        root[VALIDATIONS] = [dict(rule) for rule in kind.NAMES.rules]
    return root


def part(kind: type[Resource[Any, Any]], name: str) -> type[Any]:
    """The model of a kind's `spec` or `status`."""
    model = kind.model_fields[name].annotation
    if not isinstance(model, type):
        raise TypeError(f"{kind.__name__}.{name} is not a model: {model!r}")
    return model


def _subresources(names: Names) -> dict[str, Any]:
    subresources: dict[str, Any] = {"status": {}}
    if names.scale:
        spec, status, selector = names.scale
        subresources["scale"] = {
            "specReplicasPath": spec,
            "statusReplicasPath": status,
            "labelSelectorPath": selector,
        }
    return subresources


def _column(column: Column) -> dict[str, Any]:
    out: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.description:
        out["description"] = column.description
    if column.priority:
        out["priority"] = column.priority
    return out
