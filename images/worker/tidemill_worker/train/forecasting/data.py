"""What a forecast learns from: the windows of the training and the validation split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill.contract.frequency import Step
from tidemill.contract.model import ForecastSignature, Signature, TensorSpec
from tidemill.contract.tasks import TrainModel
from tidemill.contract.trainers import ForecastingTrainer
from tidemill_worker import log
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.errors import InvalidData, InvalidSpec
from tidemill_worker.model import folder, series, tables, windows
from tidemill_worker.report import gates
from tidemill_worker.report.plan import Plan
from tidemill_worker.report.slices import by_value
from tidemill_worker.train.data import PARITY, check_patience

OUTPUTS = ("prediction", "quantiles")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSplit:
    """Windows, and the values that came after each: float64 [windows, horizon], NaN where none came."""

    rows: pa.Table
    future: np.ndarray

    @classmethod
    def of(cls, rows: pa.Table) -> WindowSplit:
        """Of a table of windows."""
        return cls(rows=rows, future=tables.vectors(rows, windows.FUTURE))

    def __len__(self) -> int:
        return len(self.future)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowData:
    """Read once; any number of models may be trained on it. The `Data` of forecasts."""

    dataset: Artifact
    target: str
    spec: ForecastSignature
    train: WindowSplit
    validation: WindowSplit
    plan: Plan

    @property
    def table(self) -> pa.Table:
        """The training windows without what came after them."""
        return self.train.rows.drop_columns([windows.FUTURE, windows.SCALE])

    def sample(self, most: int) -> pa.Table:
        """Evenly from all series: fewer windows of a long horizon, as many values."""
        number = min(len(self.train), max(1, most // self.spec.horizon))
        return self.table.take(pa.array(np.linspace(0, len(self.train) - 1, number).astype(np.int64)))

    def worst(self, outputs: dict[str, np.ndarray], raw: np.ndarray, rows: pa.Table) -> float:
        """In units of PARITY of the value, or of the deviation of the values before it, whichever is greater."""
        found = outputs["prediction"][:, :, None]
        if self.spec.quantiles:
            found = np.concatenate([found, outputs["quantiles"]], axis=2)
        history = tables.vectors(rows, self.target).astype(np.float64)
        scale = np.maximum(history.std(axis=1)[:, None, None], np.abs(raw))
        return float(np.max(np.abs(found - raw) / (PARITY * np.where(scale > 0, scale, 1.0))))

    def signature(self) -> Signature:
        """The inputs are named as the columns that feed them; the target's takes the last values."""
        spec = self.spec
        inputs = [
            TensorSpec(name=self.target, datatype="FP32", shape=(-1, spec.history), column=self.target),
            TensorSpec(name=spec.time, datatype="INT64", shape=(-1, 1), column=spec.time),
            *(TensorSpec(name=n, datatype="BYTES", shape=(-1, 1), column=n) for n in spec.series),
            *(TensorSpec(name=n, datatype="FP32", shape=(-1, spec.horizon), column=n) for n in spec.known),
        ]
        outputs = [TensorSpec(name="prediction", datatype="FP32", shape=(-1, spec.horizon), column=self.target)]
        if spec.quantiles:
            shape = (-1, spec.horizon, len(spec.quantiles))
            outputs.append(TensorSpec(name="quantiles", datatype="FP32", shape=shape, column=self.target))
        signature = Signature(
            task="Forecasting", inputs=tuple(inputs), outputs=tuple(outputs), target=self.target, forecast=spec
        )
        return signature.model_copy(update={"example": folder.example_row(self.table, signature)})


def read(task: TrainModel, context: Context) -> WindowData:
    """Download, put the series together, cut the windows. Raises what is wrong with spec or data before anything is trained."""
    trainer, field = task.trainer, task.field
    assert isinstance(trainer, ForecastingTrainer), "the task's family says so"
    context.tracker.phase("Downloading", 0.0, task.dataset.uri)
    spec = _spec(trainer, field)
    _check_evaluation(task, spec)
    dataset = Artifact(context, task.dataset, name="dataset")
    everything = series.load(dataset, trainer.target, spec, field=field)
    cut = {split: windows.cut(everything, trainer.target, spec, split) for split in series.SPLITS}
    _check_length(everything, cut["train"], spec, field)
    plan = Plan(options=task.evaluation, slices=by_value(cut["train"], task.evaluation.slices))
    gates.check_forecast(task.gates, cut, plan, windows.SCALE, spec.quantiles)
    data = WindowData(
        dataset=dataset,
        target=trainer.target,
        spec=spec,
        train=WindowSplit.of(cut["train"]),
        validation=WindowSplit.of(cut["validation"]),
        plan=plan,
    )
    check_patience(task, data.validation)
    return data


def _spec(trainer: ForecastingTrainer, field: str) -> ForecastSignature:
    """What the trainer asks for, with what follows from the frequency."""
    names = (trainer.time, *trainer.series, *trainer.known, trainer.target)
    for name in names:
        if name in OUTPUTS:
            raise InvalidSpec(
                f"{field}: a column cannot be called {name!r}, as the model's output is: rename it in the dataset",
                field=field,
            )
        if names.count(name) > 1:
            raise InvalidSpec(f"{field}: column {name!r} has two roles; it can have one", field=field)
    season = trainer.season or Step.parse(trainer.frequency).season
    history = max(*trainer.lags, *windows_of(trainer, season), trainer.seasonal_lags * season)
    return ForecastSignature(
        time=trainer.time,
        series=trainer.series,
        known=trainer.known,
        horizon=trainer.horizon,
        history=history,
        frequency=trainer.frequency,
        season=season,
        stride=trainer.stride,
        gaps=trainer.gaps,
        quantiles=tuple(sorted(trainer.quantiles)),
    )


def windows_of(trainer: ForecastingTrainer, season: int) -> tuple[int, ...]:
    """Lengths of the rolling windows: by default one season, where there is one."""
    if trainer.windows is not None:
        return trainer.windows
    return (season,) if season > 1 else ()


def _check_evaluation(task: TrainModel, spec: ForecastSignature) -> None:
    """What the schema refuses already, for tasks that come another way."""
    options = task.evaluation
    for index, column in enumerate(options.slices):
        if column not in spec.series:
            field = f"spec.evaluation.slices[{index}]"
            raise InvalidSpec(
                f"{field}: {column!r} is none of the columns that tell series apart ({', '.join(spec.series) or 'none'})",
                field=field,
            )
    if options.fairness is not None:
        raise InvalidSpec(
            "spec.evaluation.fairness: of a forecast it is not measured", field="spec.evaluation.fairness"
        )
    if options.threshold is not None:
        raise InvalidSpec("spec.evaluation.threshold: a forecast has none", field="spec.evaluation.threshold")
    if options.explain.method == "SHAP":
        field = "spec.evaluation.explain.method"
        raise InvalidSpec(f"{field}: a forecast has no single number that Shapley values could add up to", field=field)


def _check_length(everything: series.SeriesSet, train: pa.Table, spec: ForecastSignature, field: str) -> None:
    """A window needs `history` values before and `horizon` after it, all of them in the training split."""
    lengths = [int((one.split == 0).sum()) for one in everything.series]
    needed = spec.history + spec.horizon
    if not train.num_rows:
        longest = max(lengths, default=0)
        way = (
            "lower stride"
            if longest >= needed
            else "lower horizon, lags, windows, season or seasonalLags, or take more data"
        )
        raise InvalidData(
            f"{field}: no forecast fits into the training split: one takes {needed} steps ({spec.history} before it, "
            f"{spec.horizon} ahead), the longest of {len(lengths)} series has {longest}: {way}",
            field=f"{field}.horizon",
        )
    short = sum(length < needed for length in lengths)
    if short:
        log.warn("series are too short to learn from", series=short, of=len(lengths), steps=needed)
