"""The minimal merge patch, against a reference implementation of RFC 7396."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tidemill.kube.status import clean, merge_patch

scalars = st.one_of(st.integers(-3, 3), st.booleans(), st.text("ab", max_size=2), st.floats(0, 1))
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("pqr"), inner, max_size=3)),
)
documents = st.dictionaries(st.sampled_from("xyz"), values, max_size=3)


def apply(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply(result.get(name), value)
    return result


@given(documents, documents)
def test_the_patch_leads_from_old_to_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert apply(old, merge_patch(old, new)) == new


@given(documents)
def test_equal_documents_need_no_patch(document: dict[str, Any]) -> None:
    assert merge_patch(document, clean(document)) == {}


def test_only_what_differs_is_sent() -> None:
    old = {"phase": "A", "gone": 1, "deep": {"same": 1, "other": 2}, "list": [1, 2]}
    new = {"phase": "B", "deep": {"same": 1, "other": 3}, "list": [1, 2]}
    assert merge_patch(old, new) == {"phase": "B", "gone": None, "deep": {"other": 3}}


def test_values_that_json_does_not_have_are_left_out() -> None:
    assert clean({"score": math.nan, "none": None, "deep": {"x": None}, "list": ({"y": None},)}) == {
        "deep": {},
        "list": [{}],
    }


def test_true_is_not_one() -> None:
    assert merge_patch({"x": 1}, {"x": True}) == {"x": True}
