"""Boosting in training: every epoch is a booster of its own that goes on from the sum of all trees before it.

LightGBM keeps its random generators inside a booster and cannot save them. So no booster outlives an epoch: each draws from
seeds that follow from the spec's seed and the epoch's number, and starts from scores that the trees before it give. A pod that
resumes computes the same scores and goes on as if nothing had happened. Sums do not depend on the number of threads:
one thread fills a column's histogram (`force_col_wise`), one adds up the totals (`deterministic`).
"""

from __future__ import annotations

import zlib
from typing import Any

import lightgbm
import numpy as np

from tidemill.contract.trainers.trees import TREES_AN_EPOCH, TreeGrowth
from tidemill_worker.context import Context
from tidemill_worker.train.boosting.objective import Objective
from tidemill_worker.train.checkpoint import Arrays
from tidemill_worker.train.epochs import Losses

SEEDS = ("bagging_seed", "feature_fraction_seed", "extra_seed", "objective_seed")


class Scored:
    """Rows of a split, float32 [rows, columns], with their targets and the sum of all trees so far."""

    def __init__(self, rows: np.ndarray, target: np.ndarray, base: np.ndarray) -> None:
        self.rows, self.target = rows, target
        self.scores = np.tile(base, (len(rows), 1))
        """float64 [rows, scores]"""

    def add(self, trees: lightgbm.Booster, threads: int) -> None:
        """Count the trees in."""
        self.scores += predict(trees, self.rows, threads)


def predict(trees: lightgbm.Booster, rows: np.ndarray, threads: int) -> np.ndarray:
    """The sum of the trees, float64 [rows, scores]."""
    found = np.asarray(trees.predict(rows, raw_score=True, num_threads=threads), dtype=np.float64)
    return found.reshape(len(rows), -1)


class BoostingLearner:
    """Grows the trees; a `Learner`."""

    def __init__(
        self,
        trainer: TreeGrowth,
        context: Context,
        objective: Objective,
        train: Scored,
        validation: Scored,
        *,
        categorical: list[int],
        data: lightgbm.Dataset | None = None,
    ) -> None:
        """`data` is another learner's, of the same rows, targets and weights."""
        self.trainer, self.context, self.objective = trainer, context, objective
        self.train, self.validation = train, validation
        self.epochs, self.steps = -(-trainer.trees // TREES_AN_EPOCH), 1
        self.threads = context.environment.cpus
        self.blocks: list[bytes] = []
        """The trees of each epoch, as LightGBM writes them, compressed: every checkpoint holds all of them."""
        self.kept = 0
        """Epochs whose trees are the best so far; 0 when none were kept."""
        self.finished = False
        self.data = data or lightgbm.Dataset(
            train.rows,
            label=train.target.reshape(-1),
            weight=objective.row_weights(train.target),
            categorical_feature=categorical,
            params=self._parameters(0),
            free_raw_data=False,
        )

    def _parameters(self, epoch: int) -> dict[str, Any]:
        trainer = self.trainer
        seeds = np.random.SeedSequence([trainer.seed % (1 << 32), epoch]).generate_state(len(SEEDS)) >> 1
        return {
            **self.objective.parameters,
            "metric": "None",
            "learning_rate": trainer.learning_rate,
            "num_leaves": trainer.max_leaves,
            "max_depth": trainer.max_depth or -1,
            "min_data_in_leaf": trainer.min_rows_per_leaf,
            "bagging_fraction": trainer.subsample,
            "bagging_freq": int(trainer.subsample < 1),
            "feature_fraction": trainer.feature_fraction,
            "lambda_l1": trainer.l1,
            "lambda_l2": trainer.l2,
            **dict(zip(SEEDS, map(int, seeds), strict=True)),
            "data_random_seed": trainer.seed % (1 << 31),
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": self.threads,
            "verbosity": -1,
        }

    def epoch(self, number: int) -> Losses:
        """Ten more trees (of each class), or what is left of `trees`."""
        self.data.set_init_score(self.train.scores if self.train.scores.shape[1] > 1 else self.train.scores[:, 0])
        booster = lightgbm.Booster(self._parameters(number), self.data)
        for _ in range(min(TREES_AN_EPOCH, self.trainer.trees - TREES_AN_EPOCH * (number - 1))):
            self.context.stop.check()
            if booster.update():
                self.finished = True
                break
        self._append(zlib.compress(booster.model_to_string().encode()))
        validation = self.validation
        return Losses(
            self.objective.loss(self.train.scores, self.train.target),
            self.objective.loss(validation.scores, validation.target) if len(validation.target) else None,
        )

    def _append(self, block: bytes) -> None:
        """Trees count as they read back, so that they count the same after a resume."""
        self.blocks.append(block)
        trees = lightgbm.Booster(model_str=zlib.decompress(block).decode())
        for split in (self.train, self.validation):
            if len(split.target):
                split.add(trees, self.threads)

    def texts(self) -> list[str]:
        """The trees of each epoch."""
        return [zlib.decompress(block).decode() for block in self.blocks]

    def exhausted(self) -> bool:
        """No split is left that `minRowsPerLeaf` allows and that gains anything."""
        return self.finished

    def keep(self) -> None:
        """Remember how many epochs make the best model."""
        self.kept = len(self.blocks)

    def restore_kept(self) -> None:
        """Drop the trees after the best epoch."""
        if self.kept:
            del self.blocks[self.kept :]

    def state(self) -> Arrays:
        """The trees, and two numbers."""
        trees = {f"trees/{i}": np.frombuffer(block, np.uint8) for i, block in enumerate(self.blocks)}
        return {**trees, "kept": np.array(self.kept), "finished": np.array(self.finished)}

    def restore(self, state: Arrays) -> None:
        """Read the trees, and score all rows anew."""
        for i in range(sum(name.startswith("trees/") for name in state)):
            self._append(state[f"trees/{i}"].tobytes())
        self.kept, self.finished = int(state["kept"]), bool(state["finished"])
