"""Exit codes of a task's process, and what the Job's podFailurePolicy makes of them."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """0 is done; 64 to 78 say that the user's input is wrong and a retry is in vain; anything else is retried."""

    OK = 0
    INVALID_SPEC = 64
    """The task's own document is wrong: SQL error, unknown column, impossible parameter."""
    INVALID_DATA = 65
    """The data is wrong: missing object, truncated file, empty dataset, wrong type."""
    EXPECTATION_FAILED = 66
    ACCESS_DENIED = 67
    """The store refused the credentials."""
    TRAINING_DIVERGED = 68
    """The loss became NaN or infinite."""
    ARTIFACT_CORRUPT = 69
    """A downloaded artifact differs from its manifest, or is not a valid ONNX model."""
    CONTRACT_VIOLATED = 70
    """A user's own container did not write what the contract asks for."""


SIGTERM_CODE = 143
"""The task was told to end and did, as a shell writes it: 128 and the signal's number."""
FIRST_USER_CODE, LAST_USER_CODE = 64, 78
USER_CODES = tuple(range(FIRST_USER_CODE, LAST_USER_CODE + 1))
