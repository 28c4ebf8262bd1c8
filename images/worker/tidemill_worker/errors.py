"""Failures that a task can name: each knows its reason, the user's field and the process's exit code."""

from __future__ import annotations

from typing import ClassVar

from tidemill.contract.exitcodes import SIGTERM_CODE, ExitCode
from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import TaskFailure

RETRY = 1
"""Exit code of failures that may pass by themselves: the Job starts another pod."""
TERMINATED = SIGTERM_CODE
"""Exit code after SIGTERM."""


class TaskError(Exception):
    """A failure in the user's terms; `exit_code` decides whether the Job tries again."""

    exit_code: ClassVar[int] = RETRY
    default_reason: ClassVar[FailureReason] = FailureReason.INTERNAL

    def __init__(self, message: str, *, field: str | None = None, reason: FailureReason | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.reason = reason or self.default_reason
        self.source_digest: str | None = None
        """Of the sources, when they are what cannot be used: see data.source_digest."""

    def failure(self) -> TaskFailure:
        """The document for the termination message."""
        return TaskFailure(
            reason=str(self.reason), message=self.message, field=self.field, source_digest=self.source_digest
        )


class StoreUnavailable(TaskError):
    """The store does not answer, or answers with a server error: worth another try."""

    default_reason = FailureReason.STORE_UNAVAILABLE


class SourceUnavailable(TaskError):
    """The server or volume of an input does not answer, or answers with an error of its own: worth another try."""

    default_reason = FailureReason.SOURCE_UNAVAILABLE


class RayUnavailable(TaskError):
    """The Ray cluster does not answer, has no room, or went away: worth another try."""

    default_reason = FailureReason.RAY_UNAVAILABLE


class InvalidSpec(TaskError):
    """The task's own document is wrong."""

    exit_code = ExitCode.INVALID_SPEC
    default_reason = FailureReason.INVALID_TASK


class InvalidData(TaskError):
    """The data is wrong."""

    exit_code = ExitCode.INVALID_DATA
    default_reason = FailureReason.DATA_CORRUPT


class ScriptError(InvalidSpec):
    """The user's file cannot be compiled."""

    default_reason = FailureReason.SCRIPT_ERROR


class ConfigMapMissing(TaskError):
    """A ConfigMap that the spec names is not there: worth another try, as whoever applies several manifests at once creates
    them in any order."""

    default_reason = FailureReason.OBJECT_NOT_FOUND


class ObjectNotFound(InvalidData):
    """An object or bucket does not exist."""

    default_reason = FailureReason.OBJECT_NOT_FOUND


class DatasetEmpty(InvalidData):
    """No rows are left."""

    default_reason = FailureReason.DATASET_EMPTY


class ColumnMissing(InvalidSpec):
    """A column that the spec names does not exist."""

    default_reason = FailureReason.COLUMN_MISSING


class ColumnType(InvalidData):
    """A column has a type that cannot serve."""

    default_reason = FailureReason.COLUMN_TYPE


class ExpectationFailed(TaskError):
    """The rows are not what the user expects."""

    exit_code = ExitCode.EXPECTATION_FAILED
    default_reason = FailureReason.EXPECTATION_FAILED


class GateNotPassed(ExpectationFailed):
    """A metric does not keep the bound that the user set."""

    default_reason = FailureReason.GATE_NOT_PASSED


class AccessDenied(TaskError):
    """The store refused the credentials."""

    exit_code = ExitCode.ACCESS_DENIED
    default_reason = FailureReason.ACCESS_DENIED


class TrainingDiverged(TaskError):
    """The loss became NaN or infinite."""

    exit_code = ExitCode.TRAINING_DIVERGED
    default_reason = FailureReason.TRAINING_DIVERGED


class ArtifactCorrupt(TaskError):
    """Content differs from its manifest."""

    exit_code = ExitCode.ARTIFACT_CORRUPT
    default_reason = FailureReason.ARTIFACT_CORRUPT


class ModelInvalid(ArtifactCorrupt):
    """The ONNX model cannot be used."""

    default_reason = FailureReason.MODEL_INVALID


class ContractViolated(TaskError):
    """A user's own container did not leave what the contract asks for."""

    exit_code = ExitCode.CONTRACT_VIOLATED
    default_reason = FailureReason.CONTRACT_VIOLATED


class PeersLost(TaskError):
    """Other processes of a distributed training did not come, or went."""

    default_reason = FailureReason.PEERS_LOST


class Dismissed(BaseException):
    """This process of a distributed training has done its part: another one goes on. Not an Exception: nothing is wrong."""


class Terminated(BaseException):
    """SIGTERM arrived. Not an Exception, so that no handler for errors swallows it."""
