"""How gradient-boosted trees grow: what every trainer by LightGBM is told."""

from __future__ import annotations

from pydantic import Field

from tidemill.contract.base import Document

TREES_AN_EPOCH = 10
"""Trees are added by the epoch: progress, checkpoints, patience and a search's pruning count in epochs for every trainer."""


class TreeGrowth(Document):
    """The parameters of boosting."""

    trees: int = Field(default=300, ge=1, le=10_000)
    """Trees, at most; for three and more classes, trees of each class."""
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    """Share of each tree's answer that is taken. Half of it wants twice the trees."""
    max_leaves: int = Field(default=31, ge=2, le=4096)
    """Leaves of a tree, at most: trees grow where it helps most, not level by level."""
    max_depth: int | None = Field(default=None, ge=1, le=64)
    """Splits on the way to a leaf, at most; without it only maxLeaves bounds a tree."""
    min_rows_per_leaf: int = Field(default=20, ge=1, le=1_000_000)
    """A split that leaves fewer training rows on one side is not made."""
    subsample: float = Field(default=1.0, gt=0, le=1)
    """Share of the rows that each tree is grown on, drawn anew for each."""
    feature_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the columns that each tree is grown on, drawn anew for each."""
    l1: float = Field(default=0.0, ge=0, le=1_000_000)
    """Pulls the leaves' answers towards zero by a fixed amount (of the sum of a leaf's gradients)."""
    l2: float = Field(default=0.0, ge=0, le=1_000_000)
    """Pulls the leaves' answers towards zero as so many rows more in each leaf would."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when the validation loss has not fallen for so many epochs; the trees after the best epoch are dropped."""
    max_categories: int = Field(default=255, ge=2, le=10_000)
    """Categories a text column keeps; the rest become one."""
    seed: int = 0
    """Seed of the draws of rows and columns."""
