"""Fields that this version does not know are found wherever they are, and told once."""

from __future__ import annotations

from typing import Any

from tests.property import manifests

from tidemill.reconcile.plan import Key
from tidemill.runtime.unknown import UnknownFields, unknown_fields

KEY = Key(kind="Dataset", namespace="ns", name="d")


def dataset(generation: int = 1, **spec: Any) -> dict[str, Any]:
    made = manifests.dataset("d", **spec)
    meta = {"name": "d", "namespace": "ns", "uid": "u", "generation": generation}
    return {**made, "metadata": meta}


def test_all_kinds_as_tests_write_them_have_no_unknown_field() -> None:
    samples = (
        manifests.dataset(), manifests.derived("a", "b"), manifests.run("r"), manifests.version("m", 1),
        manifests.pool(), manifests.deployment(), manifests.policy(),
    )  # fmt: skip
    for made in samples:
        meta = {**made["metadata"], "namespace": "ns", "uid": "u", "generation": 1}
        assert unknown_fields({**made, "metadata": meta}) == []


def test_unknown_fields_are_named_by_their_paths() -> None:
    obj = dataset(newer={"x": 1}, split={"random": {"test": 0.1, "shuffleWith": 1}})
    obj["spec"]["inputs"][0]["s3"]["future"] = True
    found = unknown_fields(obj)
    assert "spec.newer" in found
    assert "spec.inputs[0].s3.future" in found
    assert "spec.inputs" not in found


def test_they_are_told_once_for_each_generation() -> None:
    unknown = UnknownFields()
    assert "spec.newer" in unknown.news(KEY, dataset(newer=1))
    assert unknown.news(KEY, dataset(newer=1)) == ""
    assert "spec.newer" in unknown.news(KEY, dataset(2, newer=1))
    unknown.forget(KEY)
    assert "spec.newer" in unknown.news(KEY, dataset(2, newer=1))
    assert unknown.news(KEY, dataset(3)) == ""


def test_many_are_counted() -> None:
    said = UnknownFields().news(KEY, dataset(**{f"f{n}": n for n in range(9)}))
    assert "and 4 more" in said
