"""Conditions by the rules of kstatus: `Ready` always, `Reconciling` and `Stalled` only while true, domain conditions kept.

One `ConditionSet` is made a reconcile, from the previous status. What a reconcile says is set; a domain condition that it
does not speak of stays as it was; `lastTransitionTime` moves only when the status of a condition does.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, TypeVar

from tidemill.api.base import Condition, Status
from tidemill.api.durations import format_time

READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"
_ORDER = (READY, RECONCILING, STALLED)
_MESSAGE_LIMIT = 1024
_REASON_LIMIT = 64

StatusT = TypeVar("StatusT", bound=Status)


class ConditionSet:
    """The conditions of a resource while it is being reconciled."""

    def __init__(self, previous: Status, *, generation: int, now: datetime) -> None:
        self._previous = previous
        self._generation = generation
        self._now = format_time(now)
        self._conditions = {c.type: c for c in previous.conditions if c.type not in (RECONCILING, STALLED)}

    def set(
        self, type_: str, status: bool | Literal["True", "False", "Unknown"], reason: str, message: str = ""
    ) -> None:
        """Say what a condition is. The time of the last transition is kept when the status is what it was."""
        value: Literal["True", "False", "Unknown"] = (
            status if isinstance(status, str) else "True" if status else "False"
        )
        before = self._previous.condition(type_)
        since = before.last_transition_time if before and before.status == value else self._now
        self._conditions[type_] = Condition(
            type=type_,
            status=value,
            reason=reason_name(reason),
            message=shorten(message),
            last_transition_time=since,
            observed_generation=self._generation,
        )

    def remove(self, type_: str) -> None:
        """Drop a condition that no longer says anything."""
        self._conditions.pop(type_, None)

    def ready(self, reason: str, message: str = "") -> None:
        """Ready=True: what the spec asks for is there."""
        self.set(READY, True, reason, message)

    def reconciling(self, reason: str, message: str = "") -> None:
        """Not ready yet, and on the way: Ready=False with Reconciling=True."""
        self.set(READY, False, reason, message)
        self.set(RECONCILING, True, reason, message)

    def stalled(self, reason: str, message: str = "") -> None:
        """Not ready, and it will not be before somebody acts: Ready=False with Stalled=True."""
        self.set(READY, False, reason, message)
        self.set(STALLED, True, reason, message)

    def not_ready(self, reason: str, message: str = "") -> None:
        """Not ready by the user's own wish (suspended) or until a person acts as intended: neither abnormal condition."""
        self.set(READY, False, reason, message)

    def build(self) -> tuple[Condition, ...]:
        """The conditions: Ready, Reconciling, Stalled, then the domain's own by name."""
        rank = {type_: index for index, type_ in enumerate(_ORDER)}
        return tuple(sorted(self._conditions.values(), key=lambda c: (rank.get(c.type, len(_ORDER)), c.type)))


def finish(status: StatusT, conditions: ConditionSet, *, generation: int) -> dict[str, Any]:
    """The status as the plan carries it: with conditions and observedGeneration, camelCase, absent fields left out."""
    done = status.model_copy(update={"conditions": conditions.build(), "observed_generation": generation})
    return done.model_dump(mode="json", by_alias=True, exclude_none=True)


def is_true(status: Status, type_: str) -> bool:
    """Whether a condition is there and true."""
    condition = status.condition(type_)
    return condition is not None and condition.status == "True"


def is_false(status: Status, type_: str) -> bool:
    """Whether a condition is there and false."""
    condition = status.condition(type_)
    return condition is not None and condition.status == "False"


def is_current(status: Status, generation: int) -> bool:
    """Whether the status speaks of this very generation of the spec and says Ready."""
    return status.observed_generation == generation and is_true(status, READY)


def shorten(message: str, limit: int = _MESSAGE_LIMIT) -> str:
    """The message within the limit of a condition: the end is cut, visibly."""
    return message if len(message) <= limit else message[: limit - 1] + "…"


def append(message: str, clause: str) -> str:
    """The message with a clause at its end that is not cut, however long the message is."""
    return shorten(message.rstrip("."), _MESSAGE_LIMIT - len(clause)) + clause


@lru_cache(maxsize=512)
def reason_name(reason: str) -> str:
    """A reason as a condition allows it: letters and digits only. A worker's own reason is not trusted to be one."""
    cleaned = "".join(c for c in str(reason) if c.isascii() and c.isalnum())[:_REASON_LIMIT]
    return cleaned if cleaned and cleaned[0].isalpha() else "Unknown"
