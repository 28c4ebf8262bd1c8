"""What every task has."""

from __future__ import annotations

from tidemill.contract.base import Document
from tidemill.contract.canonical import digest, short
from tidemill.contract.references import ObjectRef


class BaseTask(Document):
    """What every task has."""

    owner: ObjectRef

    @property
    def task_id(self) -> str:
        """Twelve hexadecimal digits that name this very task: same document, same id."""
        return short(digest(self.model_dump(mode="json", by_alias=True, exclude_none=True)))
