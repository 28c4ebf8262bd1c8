"""How networks are trained: what every trainer by gradient descent is told."""

from __future__ import annotations

from pydantic import Field

from tidemill.contract.base import Document


class Descent(Document):
    """The parameters of the optimiser (AdamW; Loshchilov & Hutter 2019)."""

    epochs: int = Field(default=20, ge=1, le=100_000)
    """Passes over the training split, at most."""
    batch_size: int = Field(default=512, ge=1, le=1_000_000)
    """Rows of one optimiser step."""
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    """Step size of the optimiser."""
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    """Pulls the weights towards zero."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the hidden units that are dropped in training."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when the validation loss has not fallen for so many epochs; the best weights are kept."""
    seed: int = 0
    """Seed of initial weights, dropout and the order of rows."""
