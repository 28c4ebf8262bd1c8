"""What a process of a distributed training tells its pod's launcher at its end, by a file.

PyTorch's elastic agent knows failure and success only and starts again whatever failed
(https://github.com/pytorch/pytorch/issues/133877). So a process that must not be started again, because the user's input
is wrong, ends with 0 for the agent, and the launcher ends with the code that stands here.
"""

from __future__ import annotations

from pathlib import Path

from tidemill.contract.base import Document
from tidemill.contract.exitcodes import USER_CODES
from tidemill.contract.results import Result


class Outcome(Document):
    """How a process ended."""

    code: int
    """The exit code that a pod with this process alone would end with."""
    result: Result | None = None
    """The termination message that it would leave."""
    counts: bool = True
    """Whether a failure counts against `maxRestarts`."""

    @property
    def final(self) -> bool:
        """Whether a retry is in vain."""
        return self.code in USER_CODES


class Outcomes:
    """A folder with the outcomes of a pod's processes."""

    FOLDER = "outcomes"
    """Its name below the pod's work directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, process: int, outcome: Outcome) -> None:
        """Complete or not at all."""
        path = self._path(process)
        partial = path.with_suffix(".partial")
        partial.write_text(outcome.to_json())
        partial.rename(path)

    def clear(self, process: int) -> None:
        """Forget what the process said before it was started again."""
        self._path(process).unlink(missing_ok=True)

    def read(self, process: int) -> Outcome | None:
        """What the process said, None when it said nothing: it runs, or was killed."""
        try:
            return Outcome.model_validate_json(self._path(process).read_bytes())
        except FileNotFoundError:
            return None

    def final(self, processes: int) -> Outcome | None:
        """What makes any further attempt useless: of several the first process's word."""
        said = (self.read(process) for process in range(processes))
        return next((outcome for outcome in said if outcome is not None and outcome.final), None)

    def _path(self, process: int) -> Path:
        return self._folder / f"{process}.json"
