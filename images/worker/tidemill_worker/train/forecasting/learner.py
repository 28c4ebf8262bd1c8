"""Forecasts in training: one sequence of boosted trees for the forecast and one for each quantile, grown side by side."""

from __future__ import annotations

import lightgbm
import numpy as np

from tidemill.contract.trainers import ForecastingTrainer
from tidemill_worker.context import Context
from tidemill_worker.train.boosting.learner import BoostingLearner, Scored
from tidemill_worker.train.boosting.objective import Objective
from tidemill_worker.train.checkpoint import Arrays
from tidemill_worker.train.epochs import Losses


class ForecastLearner:
    """All of them; a `Learner`. An epoch is ten trees of each; its loss is the mean of theirs."""

    def __init__(
        self,
        trainer: ForecastingTrainer,
        context: Context,
        train: tuple[np.ndarray, np.ndarray],
        validation: tuple[np.ndarray, np.ndarray],
        *,
        categorical: list[int],
    ) -> None:
        """Rows float32 [rows, columns] with their targets float32 [rows, 1], in what a forecast is measured in."""
        rows, target = train
        self.objectives = objectives(trainer, target)
        self.parts: list[BoostingLearner] = []
        data: lightgbm.Dataset | None = None
        for objective in self.objectives:
            part = BoostingLearner(
                trainer,
                context,
                objective,
                Scored(rows, target, objective.base),
                Scored(*validation, objective.base),
                categorical=categorical,
                data=data,
            )
            data = part.data  # the same rows and targets: they are put into bins once
            self.parts.append(part)
        self.epochs, self.steps = self.parts[0].epochs, 1

    def epoch(self, number: int) -> Losses:
        """Ten more trees of each."""
        losses = [part.epoch(number) for part in self.parts]
        judged = [loss.validation for loss in losses if loss.validation is not None]
        return Losses(float(np.mean([loss.train for loss in losses])), float(np.mean(judged)) if judged else None)

    def exhausted(self) -> bool:
        """None of them has a split left."""
        return all(part.exhausted() for part in self.parts)

    def keep(self) -> None:
        """The best epoch is that of all together."""
        for part in self.parts:
            part.keep()

    def restore_kept(self) -> None:
        """Drop the trees after the best epoch."""
        for part in self.parts:
            part.restore_kept()

    def state(self) -> Arrays:
        """Each one's, by its place."""
        return {
            f"{place}/{name}": value for place, part in enumerate(self.parts) for name, value in part.state().items()
        }

    def restore(self, state: Arrays) -> None:
        """Put each one's back."""
        for place, part in enumerate(self.parts):
            prefix = f"{place}/"
            part.restore({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})


def objectives(trainer: ForecastingTrainer, target: np.ndarray) -> list[Objective]:
    """The forecast's, then those of the quantiles, ascending."""
    values = target.astype(np.float64).reshape(-1)

    def regression(loss: str, quantile: float, base: float) -> Objective:
        return Objective(loss_name=loss, quantile=quantile, base=np.array([base]), weights=None, classes=0)

    middle = values.mean() if trainer.loss == "SquaredError" else np.median(values)
    found = [regression(trainer.loss, 0.5, float(middle))]
    levels = sorted(trainer.quantiles)
    return found + [regression("Quantile", level, float(np.quantile(values, level))) for level in levels]
