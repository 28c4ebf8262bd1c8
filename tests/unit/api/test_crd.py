"""The CRDs as generated: complete, documented, and the same as in the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.api.crd import crd, schema
from tidemill.api.v1alpha1 import KINDS

ROOT = Path(__file__).resolve().parents[3]


def fields(node: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """All fields below a schema with their paths."""
    found = []
    for name, sub in node.get("properties", {}).items():
        found += [(f"{path}.{name}", sub), *fields(sub, f"{path}.{name}")]
    for key in ("items", "additionalProperties"):
        if key in node:
            found += fields(node[key], f"{path}[]")
    return found


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda k: k.NAMES.kind)
class TestEveryKind:
    def test_every_field_is_described(self, kind: Any) -> None:
        for part in ("spec", "status"):
            node = schema(kind)["properties"][part]
            bare = [path for path, sub in fields(node, part) if not sub.get("description")]
            assert not bare, "give these a docstring"

    def test_strings_that_rules_read_and_lists_are_bounded(self, kind: Any) -> None:
        """The API server counts the cost of a rule by these limits, and an object stays below 10 kB."""
        unbounded = [p for p, sub in fields(schema(kind)) if sub["type"] == "array" and "maxItems" not in sub]
        assert not unbounded

    def test_no_name_is_another_thing_in_yaml(self, kind: Any) -> None:
        """YAML 1.1, which kubectl reads, takes a bare `on` for true and a bare `Null` for nothing. A status nobody types."""
        typed = [(path, sub) for path, sub in fields(schema(kind)) if path.startswith(".spec")]
        assert typed
        names = [path.rpartition(".")[2].removesuffix("[]") for path, _ in typed]
        values = [value for _, sub in typed for value in sub.get("enum", ())]
        assert [
            name for name in (*names, *values) if isinstance(name, str) and yaml.safe_load(name or "''") != name
        ] == []

    def test_every_rule_has_a_message(self, kind: Any) -> None:
        nodes = [schema(kind), *(sub for _, sub in fields(schema(kind)))]
        for rule in (rule for node in nodes for rule in node.get("x-kubernetes-validations", ())):
            assert rule["message"]
            assert "\n" not in rule["rule"]

    def test_conditions_are_a_map_by_type(self, kind: Any) -> None:
        conditions = schema(kind)["properties"]["status"]["properties"]["conditions"]
        assert conditions["x-kubernetes-list-type"] == "map"
        assert conditions["x-kubernetes-list-map-keys"] == ["type"]
        assert conditions["items"]["required"] == ["type"]

    def test_names(self, kind: Any) -> None:
        document = crd(kind)
        names = document["spec"]["names"]
        assert document["metadata"]["name"] == f"{names['plural']}.tidemill.dev"
        assert names["categories"] == ["tidemill"]
        assert all(short.startswith("tm") for short in names["shortNames"])
        assert document["spec"]["versions"][0]["subresources"]["status"] == {}

    def test_the_file_is_small_enough_for_client_side_apply(self, kind: Any) -> None:
        """`kubectl apply` keeps the whole manifest in an annotation of at most 256 KiB."""
        assert len(yaml.safe_dump(crd(kind))) < 200_000


def test_generated_files_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "hack/gen-crds", "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_charts_copies_are_kept_when_the_chart_is_uninstalled() -> None:
    for kind in KINDS.values():
        plain = yaml.safe_load((ROOT / f"crds/{kind.NAMES.plural}.yaml").read_text())
        kept = yaml.safe_load((ROOT / f"charts/tidemill-crds/templates/{kind.NAMES.plural}.yaml").read_text())
        assert kept["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert kept == plain
