"""What boosting minimises: LightGBM's parameters for it, the score that the first tree starts from, and the loss itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tidemill.contract.trainers import BoostedTrainer
from tidemill_worker.train.target import Target

HUBER = 1.0
"""Where the squared loss becomes absolute, in standard deviations of the target; the network's is the same."""
_KINDS = {
    "SquaredError": "regression",
    "AbsoluteError": "regression_l1",
    "Huber": "huber",
    "Quantile": "quantile",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A loss over scores [rows, scores]: the standardised target; the second class's logit; or a logit for each class."""

    loss_name: str
    quantile: float
    base: np.ndarray
    """float64 [scores]: the best constant."""
    weights: np.ndarray | None
    """float64 [classes], or None when every row counts the same."""
    classes: int
    """0 for a regression."""

    @classmethod
    def of(cls, trainer: BoostedTrainer, target: Target, train: np.ndarray) -> Objective:
        """As the spec asks, for these training targets."""
        quantile = 0.5 if trainer.quantile is None else trainer.quantile
        if target.classes is None:
            values = train.astype(np.float64)
            base = np.mean(values) if trainer.loss == "SquaredError" else np.quantile(values, quantile)
            return cls(loss_name=trainer.loss, quantile=quantile, base=np.array([base]), weights=None, classes=0)
        counts = np.bincount(train, minlength=len(target.classes)).astype(np.float64)
        balanced = trainer.class_weights == "Balanced"
        weights = counts.sum() / (len(counts) * counts) if balanced else None
        logits = np.log(counts if weights is None else counts * weights)
        base = logits[1:] - logits[0] if len(counts) == 2 else logits - logits.mean()
        return cls(loss_name="CrossEntropy", quantile=quantile, base=base, weights=weights, classes=len(counts))

    @property
    def parameters(self) -> dict[str, Any]:
        """LightGBM's."""
        if self.classes == 2:
            return {"objective": "binary"}
        if self.classes:
            return {"objective": "multiclass", "num_class": self.classes}
        return {"objective": _KINDS[self.loss_name], "alpha": self.quantile if self.loss_name == "Quantile" else HUBER}

    def row_weights(self, target: np.ndarray) -> np.ndarray | None:
        """float64 [rows], or None when every row counts the same."""
        return None if self.weights is None else self.weights[target]

    def loss(self, scores: np.ndarray, target: np.ndarray) -> float:
        """Mean over the rows, weighted as they are in training."""
        if not self.classes:
            return float(np.mean(self._error(target.reshape(-1) - scores[:, 0])))
        logits = np.column_stack([np.zeros(len(scores)), scores]) if self.classes == 2 else scores
        shifted = logits - logits.max(axis=1, keepdims=True)
        entropy = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(target)), target]
        return float(np.average(entropy, weights=self.row_weights(target)))

    def _error(self, residual: np.ndarray) -> np.ndarray:
        size: np.ndarray = np.abs(residual)
        square: np.ndarray = size * size
        match self.loss_name:
            case "SquaredError":
                return square
            case "Huber":
                return np.where(size <= HUBER, square / 2, HUBER * (size - HUBER / 2))
            case "Quantile":
                return np.where(residual >= 0, self.quantile * size, (1 - self.quantile) * size)
            case _:
                return size
