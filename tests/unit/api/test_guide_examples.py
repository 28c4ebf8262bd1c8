"""Every manifest in the guides and in examples/ is valid, and no field of it is a misspelling that would be ignored.

A block of YAML in docs/*.md that has an apiVersion of ours is a whole manifest. In docs/datasets.md a block without one is a
part of a Dataset's spec.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tidemill.api.v1alpha1 import KINDS
from tidemill.contract.names import GROUP

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PARTS = {"datasets.md": {"inputs": [{"name": "rows", "s3": {"uri": "s3://raw/rows/"}}]}}
"""Guides whose other blocks are parts of a Dataset's spec, and what is lacking to a whole one."""


def blocks(guide: Path) -> list[tuple[int, dict[str, Any]]]:
    """Line and content of the manifests in a guide, parts of a spec completed."""
    found: list[tuple[int, dict[str, Any]]] = []
    text = guide.read_text()
    for match in re.finditer(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        line = text[: match.start()].count("\n") + 1
        for document in yaml.safe_load_all(match[1]):
            if not isinstance(document, dict):
                continue
            if "apiVersion" not in document and guide.name in PARTS:
                found.append((line, {"kind": "Dataset", "spec": {**PARTS[guide.name], **document}}))
            elif str(document.get("apiVersion", "")).startswith(f"{GROUP}/"):
                found.append((line, document))
    return found


EXAMPLES = [
    (f"{guide.name}:{line}", document) for guide in sorted(DOCS.glob("*.md")) for line, document in blocks(guide)
]
STORIES = [
    (f"{path.parent.name}/{path.name}:{document['metadata']['name']}", document)
    for path in sorted((ROOT / "examples").glob("*/*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if document["apiVersion"].startswith(f"{GROUP}/")
]


def check(document: dict[str, Any]) -> None:
    """Raises ValidationError for what is wrong, AssertionError for what would be ignored."""
    spec = KINDS[document["kind"]].model_fields["spec"].annotation
    assert spec is not None
    found = spec.model_validate(document["spec"]).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert found == document["spec"]


@pytest.mark.parametrize("document", [pytest.param(found, id=place) for place, found in (*EXAMPLES, *STORIES)])
def test_an_example_is_valid(document: dict[str, Any]) -> None:
    check(document)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"transfrom": {"sql": "FROM rows"}}, AssertionError),
        ({"inputs": []}, ValidationError),
        ({"transform": {"steps": [{"select": {"columns": []}}]}}, ValidationError),
        ({"transform": {"steps": [{"select": {"column": ["a"]}}]}}, ValidationError),
    ],
)
def test_a_wrong_example_would_be_found(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        check({"kind": "Dataset", "spec": {**PARTS["datasets.md"], **wrong}})


def test_the_guide_to_datasets_has_every_input_and_step() -> None:
    shown = [document["spec"] for place, document in EXAMPLES if place.startswith("datasets.md")]
    inputs = {kind for spec in shown for item in spec["inputs"] for kind in item if kind != "name"}
    steps = {kind for spec in shown for step in spec.get("transform", {}).get("steps", ()) for kind in step}
    properties = KINDS["Dataset"].model_json_schema(by_alias=True)["$defs"]
    assert inputs == set(properties["Input"]["properties"]) - {"name"}
    assert steps == set(properties["Step"]["properties"])
