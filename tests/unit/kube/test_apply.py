"""Children: digests, ownership, and what is sent in which situation."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.kube.server import failure, scripted

from tidemill.contract.names import ANNOTATION_DIGEST, MANAGED_BY
from tidemill.kube.apply import Applied, complete, ensure
from tidemill.kube.errors import ApiError, ChildConflict, Stale
from tidemill.reconcile.plan import Child

OWNER: dict[str, Any] = {
    "apiVersion": "tidemill.dev/v1alpha1",
    "kind": "Dataset",
    "metadata": {"name": "d", "namespace": "ns", "uid": "u1"},
}


def child(mode: Any = "apply", *, owned: bool = True, **spec: Any) -> Child:
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "ns"}, "spec": spec}
    return Child(manifest=manifest, mode=mode, owned=owned)


def stored(desired: Child, *, uid: str = "c1", owner: dict[str, Any] = OWNER) -> dict[str, Any]:
    manifest, _ = complete(desired, owner)
    return {**manifest, "metadata": {**manifest["metadata"], "uid": uid, "resourceVersion": "5"}}


def send(
    desired: Child, existing: Any, answer: Any, *, edited: bool = False, posted: int | None = None
) -> tuple[Any, list[tuple[str, str, Any]]]:
    """What `ensure` returns (or raises) and the requests it made."""

    async def play() -> tuple[Any, list[tuple[str, str, Any]]]:
        async with scripted(answer) as (client, seen):
            try:
                result: Any = await ensure(
                    client, desired, owner=OWNER, existing=existing, edited=edited, posted=posted
                )
            except (ApiError, ChildConflict, Stale) as error:
                result = error
            made = []
            for request in seen:
                raw = await request.read()
                made.append((request.method, request.path, orjson.loads(raw) if raw else None))
            return result, made

    return asyncio.run(play())


def test_the_manifest_is_completed_and_the_plan_left_alone() -> None:
    desired = child(a=1)
    manifest, digest = complete(desired, OWNER)
    meta = manifest["metadata"]
    assert meta["annotations"] == {ANNOTATION_DIGEST: digest}
    assert meta["labels"] == {MANAGED_BY: "tidemill"}
    assert meta["ownerReferences"][0]["uid"] == "u1"
    assert meta["ownerReferences"][0]["controller"] is True
    assert desired.manifest["metadata"] == {"name": "j", "namespace": "ns"}
    assert "ownerReferences" not in complete(child(owned=False), OWNER)[0]["metadata"]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 3), max_size=4))
def test_the_digest_depends_on_content_and_not_on_order(spec: dict[str, int]) -> None:
    turned = dict(reversed(spec.items()))
    assert complete(child(inner=spec), OWNER)[1] == complete(child(inner=turned), OWNER)[1]
    assert complete(child(inner=spec), OWNER)[1] != complete(child(inner={**spec, "zzzz": 1}), OWNER)[1]


def test_an_unchanged_child_costs_no_call() -> None:
    result, made = send(child(a=1), stored(child(a=1)), lambda _, __: failure(500, "x"))
    assert result == Applied("none")
    assert made == []


@pytest.mark.parametrize("mode", ["apply", "create"])
def test_a_missing_child_is_posted(mode: Any) -> None:
    result, made = send(child(mode, a=1), None, lambda _, __: web.json_response({"made": True}, status=201))
    assert result == Applied("created", {"made": True})
    assert [m[:2] for m in made] == [("POST", "/apis/batch/v1/namespaces/ns/jobs")]


def test_what_was_posted_is_handed_over_before_it_is_applied() -> None:
    _, made = send(child(a=1), stored(child(a=2)), lambda _, __: web.json_response({}), posted=3)
    assert [m[:2] for m in made] == [("PATCH", "/apis/batch/v1/namespaces/ns/jobs/j")] * 2
    assert made[0][2][-1] == {"op": "replace", "path": "/metadata/managedFields/3/operation", "value": "Apply"}
    assert made[1][2]["spec"] == {"a": 1}


def test_a_hand_over_that_came_too_late_is_tried_again_from_what_is_there_now() -> None:
    refused = failure(422, "Invalid", "the server rejected our request due to an error in our request")
    error, made = send(child(a=1), stored(child(a=2)), lambda _, __: refused, posted=3)
    assert isinstance(error, Stale)
    assert len(made) == 1
    error, _ = send(child(a=1), stored(child(a=2)), lambda _, __: failure(403, "Forbidden"), posted=3)
    assert isinstance(error, ApiError), "anything else is what it is"


@pytest.mark.parametrize("edited", [False, True])
def test_a_changed_or_edited_child_is_applied_to_the_very_object(edited: bool) -> None:
    before = child(a=1) if edited else child(a=2)
    result, made = send(child(a=1), stored(before), lambda _, __: web.json_response({"x": 1}), edited=edited)
    assert result.action == "applied"
    assert made[0][2]["metadata"]["uid"] == "c1"


def test_a_child_of_mode_create_is_never_touched_again() -> None:
    result, made = send(child("create", a=1), stored(child("create", a=2)), lambda _, __: failure(500, "x"))
    assert (result, made) == (Applied("none"), [])


def test_a_name_that_was_taken_meanwhile_by_ourselves_is_fine() -> None:
    mine = stored(child("create", a=1))
    answers = {"POST": failure(409, "AlreadyExists"), "GET": web.json_response(mine)}
    result, made = send(child("create", a=1), None, lambda request, _: answers[request.method])
    assert result == Applied("none", mine)
    assert [m[0] for m in made] == ["POST", "GET"]


def test_a_name_that_belongs_to_somebody_else_is_a_conflict() -> None:
    other = stored(child(a=1), owner={**OWNER, "metadata": {**OWNER["metadata"], "name": "e", "uid": "u2"}})
    error, made = send(child(a=1), other, lambda _, __: failure(500, "x"))
    assert isinstance(error, ChildConflict)
    assert "Job ns/j exists and belongs to Dataset e" in str(error)
    assert made == []


def test_a_child_of_a_removed_namesake_is_waited_for() -> None:
    former = stored(child(a=1), owner={**OWNER, "metadata": {**OWNER["metadata"], "uid": "u0"}})
    error, _ = send(child(a=1), former, lambda _, __: failure(500, "x"))
    assert "an earlier Dataset d that is being removed" in str(error)


def test_an_unowned_child_is_ours_by_its_digest() -> None:
    mine = child("create", owned=False, a=1)
    assert send(mine, stored(mine), lambda _, __: failure(500, "x"))[0] == Applied("none")
    error, _ = send(mine, stored(child("create", owned=False, a=2)), lambda _, __: failure(500, "x"))
    assert "another creator" in str(error)


def test_a_child_that_is_on_its_way_out_is_left_alone() -> None:
    going = stored(child(a=2))
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert send(child(a=1), going, lambda _, __: failure(500, "x")) == (Applied("none"), [])


@pytest.mark.parametrize("mode", ["apply", "create"])
def test_a_child_whose_ownerreference_was_taken_away_gets_it_back(mode: Any) -> None:
    existing = stored(child(mode, a=1))
    references = existing["metadata"].pop("ownerReferences")
    result, made = send(child(mode, a=1), existing, lambda _, __: web.json_response({}))
    assert result.action == "applied"
    [(method, path, body)] = made
    assert (method, path) == ("PATCH", "/apis/batch/v1/namespaces/ns/jobs/j")
    assert body["metadata"]["ownerReferences"] == references
    assert ("spec" in body) is (mode == "apply"), "what is created once is not changed"
    del existing["metadata"]["annotations"]
    result, made = send(child(mode, a=1), existing, lambda _, __: web.json_response({}))
    assert isinstance(result, ChildConflict), "one that we never made is not ours"
    assert not made
