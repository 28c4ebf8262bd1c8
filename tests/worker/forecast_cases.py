"""Series and forecasting tasks that several tests use."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tidemill.contract.tasks import TASK, TrainModel

from .lab import OWNER, Lab

Document = dict[str, Any]
QUICK: Document = {"confidence": {"resamples": 0}, "explain": {"method": "None"}, "html": False, "pictures": False}
"""What is not looked at takes no time."""
DAYS, BEGIN = 220, datetime(2023, 1, 1)
SHOPS = {"north": 40.0, "south": 400.0, "west": 4000.0}


def sales(days: int = DAYS, seed: int = 0) -> Document:
    """Daily sales of three shops of very different size: a trend, a week, and days with a promotion that lifts them by half."""
    rng = np.random.default_rng(seed)
    week = np.array([1.0, 0.9, 0.9, 1.0, 1.2, 1.6, 0.4])
    columns: Document = {"day": [], "shop": [], "promotion": [], "sold": []}
    for shop, size in SHOPS.items():
        promotion = (rng.random(days) < 0.15).astype(float)
        for place in range(days):
            day = BEGIN + timedelta(days=place)
            level = size * (1 + place / days) * week[day.weekday()] * (1 + 0.5 * promotion[place])
            columns["day"].append(day)
            columns["shop"].append(shop)
            columns["promotion"].append(promotion[place])
            columns["sold"].append(float(level * (1 + 0.05 * rng.normal())))
    return columns


def by_time(lab: Lab, columns: Document, name: str = "raw", **split: Any) -> Document:
    """A dataset whose newest rows are the test split, and those before them the validation split."""
    document = {
        "type": "PrepareDataset",
        "root": f"{lab.root}/datasets/{name}",
        "inputs": [{"name": "raw", "s3": {"uri": lab.put_table(f"{name}.parquet", columns)}}],
        "split": {"byTime": {"column": "day", "validation": 0.2, "test": 0.2, **split}},
        "profile": {"html": False, "pictures": False},
    }
    reference: Document = lab.run(document).artifact.model_dump()
    return reference


def forecast(lab: Lab, data: Document, run: str = "run", **more: Any) -> Document:
    """A training of forecasts of a week: 60 trees for each of three outputs, six epochs."""
    trainer = {
        "target": "sold",
        "time": "day",
        "series": ["shop"],
        "known": ["promotion"],
        "horizon": 7,
        "frequency": "1d",
        "quantiles": [0.9, 0.1],
        "trees": 60,
        "learningRate": 0.1,
        "seed": 3,
        **more.pop("trainer", {}),
    }
    return {
        "type": "TrainModel",
        "task": "Forecasting",
        "family": "forecasting",
        "dataset": data,
        "trainer": {name: value for name, value in trainer.items() if value is not None},
        "evaluation": QUICK,
        "runRoot": f"{lab.root}/runs/{run}/uid",
        "modelRoot": f"{lab.root}/models/sales/{run}-uid",
        **more,
    }


def parsed(document: Document) -> TrainModel:
    task = TASK.validate_python({"owner": OWNER, **document})
    assert isinstance(task, TrainModel)
    return task


EPOCH = datetime(1970, 1, 1)


def seconds(moment: datetime) -> int:
    """Since 1970."""
    return int((moment - EPOCH).total_seconds())
