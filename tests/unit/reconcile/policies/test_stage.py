"""Who holds Production."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import manifests

from tidemill.api.v1alpha1.modelversion import ModelVersion
from tidemill.reconcile.policies.stage import decide_stage, holder, holds_claim, request_id, with_transition

NOW = "2026-01-01T01:00:00Z"


def version(
    number: int,
    *,
    asked_at: str | None = None,
    verified: bool = True,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> ModelVersion:
    raw = manifests.version("delay", number, **{"stage": "Production", **spec})
    raw["metadata"]["uid"] = f"u{number}"
    made = ModelVersion.model_validate(raw)
    known: dict[str, Any] = dict(status or {})
    if verified:
        known["verifiedDigest"] = made.spec.artifact.digest
    if asked_at:
        known |= {"stageRequest": request_id(made.spec), "stageRequestedAt": asked_at}
    return ModelVersion.model_validate({**raw, "status": known})


def test_the_newest_request_holds_then_the_higher_version() -> None:
    old, new = version(2, asked_at="2026-01-01T00:00:00Z"), version(1, asked_at="2026-01-01T00:00:09Z")
    assert holder([old, new]) == new
    same = version(3, asked_at="2026-01-01T00:00:09Z")
    assert holder([new, same, old]) == same
    assert holder([]) is None


def test_what_is_no_claim() -> None:
    at = "2026-01-01T00:00:00Z"
    assert holds_claim(version(1, asked_at=at))
    assert not holds_claim(version(1, asked_at=at, verified=False))
    assert not holds_claim(version(1, asked_at=at, stage="Staging"))
    assert not holds_claim(version(1))
    assert not holds_claim(version(1, asked_at=at, approval={"mode": "Manual"}))
    assert holds_claim(version(1, asked_at=at, approval={"mode": "Manual", "approvedBy": "ada"}))
    leaving = version(1, asked_at=at)
    meta = leaving.metadata.model_copy(update={"deletion_timestamp": NOW})
    assert not holds_claim(leaving.model_copy(update={"metadata": meta}))


def test_a_new_request_takes_over_and_is_logged() -> None:
    other = version(9, asked_at="2026-01-01T00:00:00Z")
    decision = decide_stage(version(1, promotedBy="driftpolicy/watch#4"), [other], now=NOW)
    assert (decision.stage, decision.requested_at, decision.since) == ("Production", NOW, NOW)
    assert decision.transition is not None
    assert (decision.transition.reason, decision.transition.by) == ("Promoted", "driftpolicy/watch#4")


def test_the_old_holder_steps_back_and_returns() -> None:
    mine = version(1, asked_at="2026-01-01T00:00:00Z", status={"stage": "Production"})
    other = version(2, asked_at="2026-01-01T00:00:05Z")
    back = decide_stage(mine, [other], now=NOW)
    assert back.transition is not None
    assert (back.stage, back.transition.reason, back.transition.by) == ("Archived", "Superseded", "delay-v2")
    archived = mine.model_copy(update={"status": with_transition(mine.status, back)})
    again = decide_stage(archived, [], now=NOW)
    assert again.transition is not None
    assert (again.stage, again.transition.reason) == ("Production", "Restored")
    assert again.requested_at == "2026-01-01T00:00:00Z"


def test_a_machines_name_left_in_spec_is_credited_once() -> None:
    first = version(1, promotedBy="driftpolicy/watch#1")
    held = first.model_copy(update={"status": with_transition(first.status, decide_stage(first, [], now=NOW))})
    spec = held.spec.model_copy(update={"stage": "None"})
    decision = decide_stage(held.model_copy(update={"spec": spec}), [], now=NOW)
    assert decision.transition is not None
    assert (decision.transition.reason, decision.transition.by) == ("Requested", "spec.stage")


def test_withdrawn_approval_withdraws_the_stage() -> None:
    held = version(1, asked_at="2026-01-01T00:00:00Z", status={"stage": "Production"}, approval={"mode": "Manual"})
    decision = decide_stage(held, [], now=NOW)
    assert decision.transition is not None
    assert (decision.stage, decision.transition.reason) == ("None", "Withheld")


def test_the_log_holds_the_newest_ten() -> None:
    current = version(1)
    for n in range(12):
        spec = current.spec.model_copy(update={"stage": "Production" if n % 2 == 0 else "None"})
        current = current.model_copy(update={"spec": spec})
        decision = decide_stage(current, [], now=f"2026-01-01T00:00:{n:02}Z")
        current = current.model_copy(update={"status": with_transition(current.status, decision)})
    assert [t.at[-3:-1] for t in current.status.transitions] == [f"{n:02}" for n in range(11, 1, -1)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6))
def test_all_agree_on_one_holder_when_all_have_seen_all(asked: list[tuple[int, bool]]) -> None:
    versions = [version(n + 1, asked_at=f"2026-01-01T00:00:0{at}Z", verified=ok) for n, (at, ok) in enumerate(asked)]
    stages = [decide_stage(v, versions, now=NOW).stage for v in versions]
    assert stages.count("Production") == (1 if any(ok for _, ok in asked) else 0)
    for (_, ok), stage in zip(asked, stages, strict=True):
        assert stage in (("Production", "Archived") if ok else ("None",))
