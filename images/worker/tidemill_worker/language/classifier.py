"""The family `text`: a transformer encoder that predicts a class from a text."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tidemill.contract.model import TOKENIZER_FILE, Signature, TensorSpec, Tokens
from tidemill.contract.tasks import TrainModel
from tidemill.contract.trainers import TextTrainer
from tidemill_worker.context import Context
from tidemill_worker.language import base, bundle, graph, scratch
from tidemill_worker.language.learner import TransformerLearner
from tidemill_worker.model import tables
from tidemill_worker.model.tokens import INPUTS, Tokenizer, padded
from tidemill_worker.train.data import Split, TrainingData, read
from tidemill_worker.train.epochs import Training
from tidemill_worker.train.family import Report
from tidemill_worker.train.loop import choose_device
from tidemill_worker.train.target import Target

__all__ = ["FittedClassifier", "fit", "read"]
_ROWS = 32
"""That are computed at a time when nothing is trained."""
_NEW = 0.2
"""Share of an encoder's numbers that a base may lack: the layers behind it, which are made for its own task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedClassifier:
    """A trained encoder with its tokenizer; a `Fitted` that `TakesTokens`."""

    model: PreTrainedModel
    folder: Path
    """Holds the tokenizer."""
    tokens: Tokens
    target: Target
    example: str
    epochs: int
    device: str

    def raw(self, rows: pa.Table) -> np.ndarray:
        """By torch, on the device that trained."""
        assert self.tokens.column is not None, "a classification reads one"
        found = Tokenizer(self.folder, self.tokens).rows(list(tables.texts(rows, self.tokens.column)))
        parts = [_logits(self.model, found[i : i + _ROWS], self.tokens.pad) for i in range(0, len(found), _ROWS)]
        return np.concatenate(parts) if parts else np.empty((0, self.target.outputs), np.float32)

    def export(self) -> onnx.ModelProto:
        """From tokens to label and probabilities."""
        assert self.target.classes is not None, "the task is a classification"
        return graph.with_classes(graph.export(self.model.cpu(), pad=self.tokens.pad), self.target.classes)

    def files(self) -> dict[str, bytes]:
        """None that could be told before the folder is there: see `tokenised`."""
        return {}

    def tokenised(self, signature: Signature, folder: Path) -> Signature:
        """`input_ids` and `attention_mask`; beside the graph the tokenizer and the weights."""
        shutil.copyfile(self.folder / TOKENIZER_FILE, folder / TOKENIZER_FILE)
        bundle.write_weights(self.model, self.folder, folder)
        inputs = tuple(TensorSpec(name=name, datatype="INT64", shape=(-1, -1)) for name in INPUTS)
        feed = Tokenizer(self.folder, self.tokens).feed([self.example])
        example = {name: [int(token) for token in feed[name][0]] for name in INPUTS}
        return signature.model_copy(update={"inputs": inputs, "tokens": self.tokens, "example": example})


class ClassObjective:
    """Cross entropy of the classes, each row weighing the same."""

    def __init__(self, model: PreTrainedModel, train: Sequence[np.ndarray], validation: Sequence[np.ndarray],
                 targets: tuple[np.ndarray, np.ndarray], pad: int) -> None:  # fmt: skip
        self._model, self._pad = model, pad
        self._splits, self._targets = (train, validation), targets
        self.rows, self.validation_rows = len(train), len(validation)

    def loss(self, rows: Sequence[int], *, validation: bool) -> tuple[torch.Tensor, float]:
        """The mean over the rows."""
        tokens, targets = self._splits[validation], self._targets[validation]
        logits = forward(self._model, [tokens[row] for row in rows], self._pad)
        wanted = torch.from_numpy(targets[list(rows)]).to(logits.device)
        return nn.functional.cross_entropy(logits, wanted), float(len(rows))


def fit(data: TrainingData, task: TrainModel, context: Context, report: Report) -> FittedClassifier:
    """Take the base, or learn a tokenizer; then train all weights."""
    trainer = task.trainer
    assert isinstance(trainer, TextTrainer), "the task's family says so"
    torch.manual_seed(trainer.seed)
    found = base.fetch(trainer.base, task.base, context, task.field)
    model, folder = _model(found, data, trainer, context, task.field)
    pad = model.config.pad_token_id
    tokens = Tokens(column=trainer.text, max_tokens=trainer.max_tokens, pad=0 if pad is None else int(pad))
    tokenizer = Tokenizer(folder, tokens)

    def encoded(split: Split) -> list[np.ndarray]:
        return tokenizer.rows(list(tables.texts(split.rows, trainer.text)))

    device = choose_device(context, "language")
    model.to(device)  # type: ignore[arg-type]
    objective = ClassObjective(
        model, encoded(data.train), encoded(data.validation), (data.train.target, data.validation.target), tokens.pad
    )
    course = Training(TransformerLearner(trainer, context, model, objective), task, context, report).run()
    return FittedClassifier(
        model=model,
        folder=folder,
        tokens=tokens,
        target=data.target,
        example=str(tables.texts(data.table.slice(0, 1), trainer.text)[0]),
        epochs=course.epoch,
        device=device.type,
    )


def forward(model: PreTrainedModel, rows: Sequence[np.ndarray], pad: int) -> torch.Tensor:
    """The logits of rows of tokens."""
    ids, mask = (torch.from_numpy(part).to(model.device) for part in padded(rows, pad))
    logits: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
    return logits


def _logits(model: PreTrainedModel, rows: Sequence[np.ndarray], pad: int) -> np.ndarray:
    model.train(False)
    with torch.no_grad():
        return np.asarray(forward(model, rows, pad).cpu().numpy())


def _model(
    found: base.Base | None, data: TrainingData, trainer: TextTrainer, context: Context, field: str
) -> tuple[PreTrainedModel, Path]:
    """The encoder with a new head for the classes, and the folder of its tokenizer."""
    classes = data.target.classes or ()
    labels = {"id2label": dict(enumerate(classes)), "label2id": {name: index for index, name in enumerate(classes)}}
    if found is None:
        spec, folder = trainer.base.scratch, context.folder("scratch")
        assert spec is not None, "the schema asks for exactly one base"
        texts = tables.texts(data.train.rows, trainer.text)
        size = scratch.learn_tokenizer(map(str, texts), spec, folder, framed=True)
        plain = scratch.encoder(spec, vocabulary=size, tokens=trainer.max_tokens)
        plain.update({**labels, "num_labels": len(classes)})
        made = AutoModelForSequenceClassification.from_config(plain, attn_implementation="eager")  # type: ignore[no-untyped-call]
        return made, folder
    found.check_length(trainer.max_tokens, field)
    config = base.configuration(found)
    config.update({**labels, "num_labels": len(classes)})
    made = base.load(
        AutoModelForSequenceClassification, found, new_share=_NEW, config=config, ignore_mismatched_sizes=True
    )
    return made, found.folder
