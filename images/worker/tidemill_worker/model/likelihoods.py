"""Metrics of language models in plain numpy, for many weightings of the rows at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tidemill_worker.model.metrics import mean


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRows:
    """How likely a model found texts."""

    negative: np.ndarray
    """Σ −ln p of each row's learnt tokens, float64 [rows]."""
    tokens: np.ndarray
    """How many there are, int64 [rows], 1 at least."""
    block: ClassVar[int] = 1

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: np.ndarray) -> CompletionRows:
        """Some of the rows, by index or mask."""
        return CompletionRows(negative=self.negative[rows], tokens=self.tokens[rows])

    def losses(self) -> np.ndarray:
        """Each row's own loss, nats a token."""
        return np.asarray(self.negative / self.tokens)

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """loss, in nats a token, each token weighing the same; perplexity, e to its power: both [weightings]."""
        loss = np.einsum("wr,r->w", weights, self.negative) / np.einsum("wr,r->w", weights, self.tokens)
        with np.errstate(over="ignore"):
            return {"loss": loss, "perplexity": np.exp(loss)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceRows:
    """By how much the reward of a chosen answer exceeds that of the rejected one: float64 [pairs]."""

    margin: np.ndarray
    block: ClassVar[int] = 1

    def __len__(self) -> int:
        return len(self.margin)

    def take(self, rows: np.ndarray) -> PreferenceRows:
        """Some of the pairs, by index or mask."""
        return PreferenceRows(margin=self.margin[rows])

    def losses(self) -> np.ndarray:
        """Each pair's own loss, −ln σ(margin)."""
        return np.asarray(np.logaddexp(0, -self.margin))

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """loss; rewardAccuracy, the share of pairs whose chosen one leads; rewardMargin, its mean lead: each [weightings]."""
        return {
            "loss": mean(weights, self.losses()),
            "rewardAccuracy": mean(weights, (self.margin > 0).astype(np.float64)),
            "rewardMargin": mean(weights, self.margin),
        }


LanguageRows = CompletionRows | PreferenceRows
