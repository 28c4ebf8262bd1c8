"""Pictures and image trainings that several tests use: handwritten digits of 8 × 8 pixels, which scikit-learn brings."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from sklearn.datasets import load_digits

from .lab import Lab

Document = dict[str, Any]
QUICK: Document = {"confidence": {"resamples": 0}, "explain": {"method": "None"}, "html": False, "pictures": False}
"""What is not looked at takes no time."""


@cache
def digits(number: int = 700) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels uint8 [number, 8, 8], and what they show."""
    found = load_digits()
    return (found.images[:number] * 15.9).astype(np.uint8), tuple(f"d{target}" for target in found.target[:number])


def png(pixels: np.ndarray, form: str = "PNG", **more: Any) -> bytes:
    """The bytes of a file."""
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, form, **more)
    return body.getvalue()


def as_files(number: int = 700) -> Document:
    """A column of PNG files beside one of classes."""
    pixels, names = digits(number)
    return {"picture": pa.array([png(p) for p in pixels], pa.binary()), "digit": list(names)}


def as_lists(number: int = 700) -> Document:
    """The same pixels as lists."""
    pixels, names = digits(number)
    return {"picture": pixels.reshape(number, -1).tolist(), "digit": list(names)}


def dataset(lab: Lab, columns: Document, name: str = "digits", **split: Any) -> Document:
    """Split at random."""
    document = {
        "type": "PrepareDataset",
        "root": f"{lab.root}/datasets/{name}",
        "inputs": [{"name": "raw", "s3": {"uri": lab.put_table(f"{name}.parquet", columns)}}],
        "split": {"random": {"validation": 0.15, "test": 0.25, **split}},
        "profile": {"html": False, "pictures": False},
    }
    reference: Document = lab.run(document).artifact.model_dump()
    return reference


def classify(lab: Lab, data: Document, run: str = "run", **more: Any) -> Document:
    """A training of a small network, five epochs."""
    trainer = {
        "target": "digit",
        "image": "picture",
        "height": 8,
        "width": 8,
        "channels": "Grey",
        "filters": [16, 32],
        "epochs": 5,
        "batchSize": 32,
        "learningRate": 0.01,
        "seed": 3,
        **more.pop("trainer", {}),
    }
    return {
        "type": "TrainModel",
        "task": "Classification",
        "family": "image",
        "dataset": data,
        "trainer": trainer,
        "evaluation": QUICK,
        "runRoot": f"{lab.root}/runs/{run}/uid",
        "modelRoot": f"{lab.root}/models/digits/{run}-uid",
        **more,
    }
