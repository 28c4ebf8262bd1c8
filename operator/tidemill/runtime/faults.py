"""What a failed reconcile means: for the condition, for the log, for the next attempt."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from tidemill.api.base import Status
from tidemill.api.v1alpha1 import KINDS
from tidemill.contract.reasons import Reason
from tidemill.kube.errors import ApiError, ChildConflict, ConnectionFailed, Stale
from tidemill.reconcile.conditions import READY, RECONCILING, ConditionSet
from tidemill.reconcile.observed import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One failure, classified."""

    reason: str
    message: str
    expected: bool
    """Part of normal life (a race, a busy server): neither traceback nor condition."""
    terminal: bool = False
    """Retrying is in vain until the object changes."""
    traceback: bool = False


def classify(error: Exception, obj: Object | None) -> Fault:
    """What an exception of a reconcile means."""
    match error:
        case Stale():
            return Fault(reason=Reason.STALE.value, message=str(error), expected=True)
        case ValidationError() if obj is not None and (text := _invalid(obj)):
            return Fault(reason=Reason.INVALID_SPEC.value, message=text, expected=False, terminal=True)
        case ChildConflict():
            return Fault(reason=Reason.NAME_TAKEN.value, message=str(error), expected=False)
        case ApiError() if error.namespace_terminating:
            return Fault(reason=Reason.NAMESPACE_TERMINATING.value, message=error.message, expected=True)
        case ApiError() if error.quota:
            text = f"{error.message}: raise the quota"
            return Fault(reason=Reason.QUOTA_EXCEEDED.value, message=text, expected=False)
        case ApiError() if error.forbidden:
            way_out = (
                "give the operator this right" if _lacks_right(error) else "change what it objects to, or the rule"
            )
            text = f"the API server refused {error.what}: {error.message}: {way_out}"
            return Fault(reason=Reason.FORBIDDEN.value, message=text, expected=False)
        case ApiError():
            busy = error.conflict or error.status >= 429
            return Fault(reason=error.reason, message=f"{error.what}: {error.message}", expected=busy)
        case ConnectionFailed() | asyncio.TimeoutError():
            return Fault(reason=Reason.CONNECTION_FAILED.value, message=str(error), expected=True)
        case _:
            text = f"{type(error).__name__}: {error}"
            return Fault(reason=Reason.INTERNAL.value, message=text, expected=False, traceback=True)


def _lacks_right(error: ApiError) -> bool:
    """Whether RBAC refused (`User "x" cannot create resource "jobs" in …`), and not an admission policy or webhook."""
    return re.search(r"cannot \S+ resource ", error.message) is not None


def status_with(obj: Object, fault: Fault, *, now: datetime) -> dict[str, Any]:
    """The object's status with the fault in its conditions and all else as it is."""
    meta, old = obj["metadata"], obj.get("status") or {}
    generation = int(meta.get("generation") or 0)
    conditions = ConditionSet(_conditions_of(old), generation=generation, now=now)
    if fault.terminal:
        conditions.stalled(fault.reason, fault.message)
    else:
        if not any(c.get("type") == READY for c in old.get("conditions") or ()):
            conditions.set(READY, "Unknown", fault.reason, fault.message)
        conditions.set(RECONCILING, True, fault.reason, fault.message)
    built = [c.model_dump(mode="json", by_alias=True, exclude_none=True) for c in conditions.build()]
    observed = generation if fault.terminal else old.get("observedGeneration", 0)
    return {**old, "observedGeneration": observed, "conditions": built}


def _conditions_of(old: dict[str, Any]) -> Status:
    try:
        return Status.model_validate({"conditions": old.get("conditions") or ()})
    except ValidationError:  # conditions of a future version: they are written anew
        return Status()


def _invalid(obj: Object) -> str:
    """The fields of the object that are wrong, or '' when the object itself is fine."""
    try:
        KINDS[obj["kind"]].model_validate(obj)
    except ValidationError as error:
        first = error.errors()[:3]
        return "; ".join(f"{'.'.join(to_camel(str(p)) for p in e['loc'])}: {e['msg']}" for e in first) + ": correct it"
    except KeyError:
        return ""
    return ""
