"""Conditions by the rules of kstatus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidemill.api.base import Condition, Status
from tidemill.reconcile.conditions import ConditionSet, finish, is_current, reason_name, shorten

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"


def after(status: Status, act: str, *, generation: int = 1, now: datetime = NOW) -> Status:
    conditions = ConditionSet(status, generation=generation, now=now)
    getattr(conditions, act)("Why", "in words")
    return Status.model_validate(finish(status, conditions, generation=generation))


def states(status: Status) -> dict[str, str]:
    return {c.type: c.status for c in status.conditions}


def test_each_way_to_stand() -> None:
    assert states(after(Status(), "ready")) == {"Ready": "True"}
    assert states(after(Status(), "reconciling")) == {"Ready": "False", "Reconciling": "True"}
    assert states(after(Status(), "stalled")) == {"Ready": "False", "Stalled": "True"}
    assert states(after(Status(), "not_ready")) == {"Ready": "False"}


def test_abnormal_conditions_go_when_nobody_says_them_any_more() -> None:
    assert states(after(after(Status(), "stalled"), "reconciling")) == {"Ready": "False", "Reconciling": "True"}
    assert states(after(after(Status(), "reconciling"), "ready")) == {"Ready": "True"}


def test_the_time_moves_only_with_the_status() -> None:
    waiting = after(Status(), "reconciling")
    still = after(waiting, "stalled", now=LATER)
    ready, stalled = still.condition("Ready"), still.condition("Stalled")
    assert ready is not None
    assert stalled is not None
    assert (ready.last_transition_time, stalled.last_transition_time) == (EARLY, LATE)
    done = after(still, "ready", now=LATER).condition("Ready")
    assert done is not None
    assert done.last_transition_time == LATE


def test_domain_conditions_stay_until_removed_and_come_last() -> None:
    kept = Condition(type="Approved", status="True", reason="Approved", last_transition_time=EARLY)
    status = Status(conditions=(kept,))
    conditions = ConditionSet(status, generation=2, now=LATER)
    conditions.set("ADomain", "Unknown", "Later")
    conditions.reconciling("Why")
    assert [c.type for c in conditions.build()] == ["Ready", "Reconciling", "ADomain", "Approved"]
    assert conditions.build()[3] == kept
    conditions.remove("Approved")
    assert "Approved" not in {c.type for c in conditions.build()}


def test_current_means_ready_of_this_generation() -> None:
    ready = after(Status(), "ready", generation=3)
    assert is_current(ready, 3)
    assert not is_current(ready, 4)
    assert not is_current(after(Status(), "stalled", generation=3), 3)


@pytest.mark.parametrize(
    ("given", "made"), [("SQLError", "SQLError"), ("my reason!", "myreason"), ("7up", "Unknown"), ("", "Unknown")]
)
def test_a_workers_reason_is_made_one_that_conditions_allow(given: str, made: str) -> None:
    assert reason_name(given) == made


def test_messages_are_cut_visibly() -> None:
    assert shorten("x" * 2000) == "x" * 1023 + "…"
    assert shorten("short") == "short"
