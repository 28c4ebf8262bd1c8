"""How often a training keeps its state."""

from __future__ import annotations

from pydantic import Field

from tidemill.contract.base import Document


class Checkpoint(Document):
    """Training state is kept in the store so that a killed pod resumes."""

    every_epochs: int = Field(default=1, ge=1)
    """A checkpoint is stored after every so many epochs."""
