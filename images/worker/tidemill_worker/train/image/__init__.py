"""The family `image`: a convolutional network that says what a picture shows.

`data` decodes, `network` is the network, `augment` changes training pictures, `weights` are its file to begin with and to go on
from, `export_onnx` the served graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pyarrow as pa
import torch
from torch import nn

from tidemill.contract.model import WEIGHTS_FILE
from tidemill.contract.tasks import TrainModel
from tidemill.contract.trainers import ImageTrainer
from tidemill_worker.context import Context
from tidemill_worker.model.pictures import pixels
from tidemill_worker.train.data import Split
from tidemill_worker.train.epochs import Training
from tidemill_worker.train.family import Report
from tidemill_worker.train.image import export_onnx, weights
from tidemill_worker.train.image.augment import Augmentation
from tidemill_worker.train.image.data import ImageData, read
from tidemill_worker.train.image.network import ImageNetwork
from tidemill_worker.train.loop import NetworkLearner
from tidemill_worker.train.target import Target

__all__ = ["FittedImages", "fit", "read"]
_AT_ONCE = 256
"""Pictures that are judged at a time: a block of 64 filters holds 64 numbers for each pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedImages:
    """The trained network; a `Fitted`."""

    network: ImageNetwork
    image: str
    target: Target
    device: str
    epochs: int

    def raw(self, rows: pa.Table) -> np.ndarray:
        """By torch, on the device that trained."""
        whole = pixels(rows, self.image, self.network.shape)
        with torch.no_grad():
            parts = [
                self.network(part.to(self.device)).cpu() for part in torch.split(torch.from_numpy(whole), _AT_ONCE)
            ]
        return np.asarray(torch.cat(parts).numpy())

    def export(self) -> onnx.ModelProto:
        """Scaling, network and softmax in one graph."""
        return export_onnx.build(self.network, self.image, self.target.classes or ())

    def files(self) -> dict[str, bytes]:
        """The weights, for a later training to start from."""
        return {WEIGHTS_FILE: weights.encode(self.network)}


@dataclass(frozen=True, slots=True)
class PictureSplit:
    """Pixels, uint8 [rows, height, width, channels], and the indices of their classes, int64 [rows]."""

    pixels: np.ndarray
    target: np.ndarray

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """On the device."""
        return torch.from_numpy(self.pixels).to(device), torch.from_numpy(self.target).to(device)


def fit(data: ImageData, task: TrainModel, context: Context, report: Report) -> FittedImages:
    """Decode the pictures, then train the network."""
    trainer = task.trainer
    assert isinstance(trainer, ImageTrainer), "the task's family says so"
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(context.environment.cpus)

    def split(part: Split) -> PictureSplit:
        return PictureSplit(pixels(part.rows, trainer.image, data.shape, field=f"{task.field}.image"), part.target)

    train = split(data.train)
    torch.manual_seed(trainer.seed)
    network = ImageNetwork(
        shape=data.shape, filters=trainer.filters, classes=data.target.outputs, dropout=trainer.dropout
    )
    network.learn_scale(train.pixels)
    weights.begin(network, trainer, context, task.field)
    learner = NetworkLearner(
        trainer,
        context,
        network,
        train,
        split(data.validation),
        nn.CrossEntropyLoss(weight=_class_weights(trainer, data)),
        augment=Augmentation.of(trainer),
        at_once=_AT_ONCE,
    )
    course = Training(learner, task, context, report).run()
    return FittedImages(
        network=network, image=trainer.image, target=data.target, device=learner.device.type, epochs=course.epoch
    )


def _class_weights(trainer: ImageTrainer, data: ImageData) -> torch.Tensor | None:
    if trainer.class_weights == "None":
        return None
    counts = np.bincount(data.train.target, minlength=data.target.outputs).astype(np.float64)
    return torch.from_numpy((counts.sum() / (len(counts) * counts)).astype(np.float32))
