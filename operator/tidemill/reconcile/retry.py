"""The retry annotation: what has failed for a reason outside the spec is tried again when it gets a new value."""

from __future__ import annotations

import re
from typing import Any

from tidemill.api.base import Resource
from tidemill.contract.names import ANNOTATION_RETRY, label_value
from tidemill.reconcile.conditions import append

ONCE = "; a run is not tried again: create a new TrainingRun"
_TRY = "; to try again unchanged: kubectl annotate"
_WAYS_OUT = re.compile(f"(?:{re.escape(ONCE)}|{re.escape(_TRY)}.*)$")


def retry_of(resource: Resource[Any, Any]) -> str | None:
    """The annotation's value, None when there is none."""
    value = resource.metadata.annotations.get(ANNOTATION_RETRY)
    return label_value(value) if value else None


def retriable(message: str, resource: Resource[Any, Any]) -> str:
    """The message of a failure with the command that has it tried again."""
    name = f"{resource.NAMES.short[0]}/{resource.metadata.name}"
    return append(message, f"{_TRY} {name} {ANNOTATION_RETRY}=$(date +%s) --overwrite")


def cause_of(message: str) -> str:
    """The message of a failure without the way to try again, for those to whom that is of no use."""
    return _WAYS_OUT.sub("", message)
