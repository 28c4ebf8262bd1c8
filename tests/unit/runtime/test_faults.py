"""What a failure means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.runtime.objects import raw

from tidemill.api.v1alpha1 import Dataset
from tidemill.kube.errors import ApiError, ChildConflict, ConnectionFailed, Stale
from tidemill.reconcile.plan import Key
from tidemill.runtime.faults import Fault, classify, status_with

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def refusal(status: int, reason: str, message: str) -> ApiError:
    return ApiError(status=status, reason=reason, message=message, what="create /apis/batch/v1/jobs")


@pytest.mark.parametrize(
    ("error", "reason", "expected"),
    [
        (Stale("x"), "Stale", True),
        (ConnectionFailed("x"), "ConnectionFailed", True),
        (ChildConflict(Key(kind="Job", namespace="ns", name="j"), "Dataset e"), "NameTaken", False),
        (refusal(403, "Forbidden", "exceeded quota: pods"), "QuotaExceeded", False),
        (refusal(403, "Forbidden", "cannot create jobs"), "Forbidden", False),
        (refusal(403, "Forbidden", "unable to create: because it is being terminated"), "NamespaceTerminating", True),
        (refusal(422, "Invalid", "spec.x: no"), "Invalid", False),
        (refusal(409, "Conflict", "x"), "Conflict", True),
        (refusal(503, "ServiceUnavailable", "x"), "ServiceUnavailable", True),
        (ZeroDivisionError("x"), "InternalError", False),
    ],
)
def test_failures_are_classified(error: Exception, reason: str, expected: bool) -> None:
    fault = classify(error, None)
    assert (fault.reason, fault.expected, fault.terminal) == (reason, expected, False)


RBAC = (
    'jobs.batch is forbidden: User "system:serviceaccount:tidemill-system:tidemill" cannot create resource "jobs" in API '
    'group "batch" in the namespace "ml"'
)
POLICY = (
    "jobs.batch \"train\" is forbidden: ValidatingAdmissionPolicy 'limits' with binding 'limits' denied request: Jobs "
    "need a team label"
)
WEBHOOK = 'admission webhook "validate.kyverno.svc" denied the request: the image\'s registry is not allowed'


@pytest.mark.parametrize(("said", "lacks_right"), [(RBAC, True), (POLICY, False), (WEBHOOK, False)])
def test_only_rbac_asks_for_another_right(said: str, lacks_right: bool) -> None:
    fault = classify(refusal(403, "Forbidden", said), None)
    assert fault.reason == "Forbidden"
    assert said in fault.message
    assert ("give the operator this right" in fault.message) == lacks_right
    assert ("change what it objects to" in fault.message) != lacks_right


def invalid() -> tuple[dict[str, Any], ValidationError]:
    obj = raw("Dataset", spec={"inputs": [{"name": "a", "s3": {"uri": "http://not-s3"}}]})
    with pytest.raises(ValidationError) as caught:
        Dataset.model_validate(obj)
    return obj, caught.value


def test_an_invalid_object_is_stalled_and_its_field_is_named() -> None:
    obj, error = invalid()
    obj["metadata"]["generation"] = 7
    obj["status"] = {"rows": 5, "conditions": []}
    fault = classify(error, obj)
    assert (fault.reason, fault.terminal) == ("InvalidSpec", True)
    assert "spec.inputs.0.s3.uri" in fault.message
    status = status_with(obj, fault, now=NOW)
    found = {c["type"]: (c["status"], c["reason"], c["observedGeneration"]) for c in status["conditions"]}
    assert found == {"Ready": ("False", "InvalidSpec", 7), "Stalled": ("True", "InvalidSpec", 7)}
    assert (status["rows"], status["observedGeneration"]) == (5, 7)


def test_a_bug_is_not_taken_for_the_users_mistake() -> None:
    _, error = invalid()
    good = raw("Dataset", spec={"inputs": [{"name": "a", "s3": {"uri": "s3://bucket/x"}}]})
    assert classify(error, good).reason == "InternalError"


def test_a_refused_write_keeps_what_was_ready() -> None:
    ready = {
        "type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": "2025-01-01T00:00:00Z",
        "observedGeneration": 1,
    }  # fmt: skip
    obj = raw("Dataset", status={"observedGeneration": 1, "conditions": [ready]})
    status = status_with(obj, Fault(reason="Forbidden", message="no", expected=False), now=NOW)
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [("Ready", "True"), ("Reconciling", "True")]
    again = status_with({**obj, "status": status}, Fault(reason="Forbidden", message="no", expected=False), now=NOW)
    assert again == status
