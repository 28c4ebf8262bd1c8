"""The family `tabular`: a feed-forward network on preprocessed columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pyarrow as pa
import torch

from tidemill.contract.tasks import TrainModel
from tidemill.contract.trainers import TabularTrainer
from tidemill_worker.context import Context
from tidemill_worker.model.tables import Kind
from tidemill_worker.train import export_onnx, features
from tidemill_worker.train.data import Split, TrainingData, read
from tidemill_worker.train.epochs import Training
from tidemill_worker.train.family import Report
from tidemill_worker.train.inputs import NetworkInputs
from tidemill_worker.train.loop import EncodedSplit, NetworkLearner, loss_function
from tidemill_worker.train.network import TabularNetwork
from tidemill_worker.train.target import Target

__all__ = ["FittedNetwork", "fit", "read"]
_WORTH_SHARING = 20_000_000
"""Multiplications of a batch's forward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedNetwork:
    """A trained network with its preprocessing; a `Fitted`."""

    inputs: NetworkInputs
    network: TabularNetwork
    target: Target
    layers: int
    device: str
    epochs: int

    def raw(self, rows: pa.Table) -> np.ndarray:
        """By torch, on the device that trained."""
        with torch.no_grad():
            inputs = [torch.from_numpy(part).to(self.device) for part in self.inputs.encode(rows)]
            return np.asarray(self.network(*inputs).cpu().numpy())

    def export(self) -> onnx.ModelProto:
        """Preprocessing, network and postprocessing in one graph."""
        return export_onnx.build(
            self.inputs,
            {name: tensor.detach().cpu().numpy() for name, tensor in self.network.state_dict().items()},
            layers=self.layers,
            target_mean=self.target.mean,
            target_scale=self.target.scale,
            classes=self.target.classes,
        )

    def files(self) -> dict[str, bytes]:
        """Nothing."""
        return {}


def fit(data: TrainingData, task: TrainModel, context: Context, report: Report) -> FittedNetwork:
    """Fit the preprocessing on the training split, then train the network."""
    trainer = task.trainer
    assert isinstance(trainer, TabularTrainer), "the task's family says so"
    torch.use_deterministic_algorithms(True, warn_only=True)
    kinds: dict[str, Kind] = {**dict.fromkeys(data.numeric, "numeric"), **dict.fromkeys(data.text, "text")}
    fitted, seen = NetworkInputs.fit(
        features.resolve(trainer.preprocessing, kinds, data.target.column, task.field),
        data.train.rows,
        features.TargetValues.of(data.train.target, data.target.column, data.target.classes),
        numeric=data.numeric,
        text=data.text,
        max_categories=trainer.max_categories,
    )
    train, validation = _split(seen, data.train), _split(fitted.encode(data.validation.rows), data.validation)
    torch.manual_seed(trainer.seed)
    network = TabularNetwork(
        numbers=fitted.width,
        categories=[len(categories) for categories in fitted.automatic.categories],
        hidden=trainer.hidden_layers,
        outputs=data.target.outputs,
        dropout=trainer.dropout,
    )
    torch.set_num_threads(_threads(network, min(trainer.batch_size, len(train)), context.environment.cpus))
    context.group.form()
    loss = loss_function(trainer, classification=data.target.classes is not None)
    learner = NetworkLearner(trainer, context, network, train, validation, loss)
    course = Training(learner, task, context, report).run()
    return FittedNetwork(
        inputs=fitted,
        network=context.group.whole(network),
        target=data.target,
        layers=len(trainer.hidden_layers) + 1,
        device=learner.device.type,
        epochs=course.epoch,
    )


def _split(encoded: tuple[np.ndarray, np.ndarray], split: Split) -> EncodedSplit:
    numbers, codes = encoded
    return EncodedSplit(numbers=numbers, codes=codes, target=split.target)


def _threads(network: TabularNetwork, batch: int, cpus: int) -> int:
    """More threads only where a batch is enough work to share: small layers are faster on one."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return cpus if parameters * batch >= _WORTH_SHARING else 1
