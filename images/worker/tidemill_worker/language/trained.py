"""One training of a causal language model: data in, a folder with the graph and all that lies beside it out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from tidemill.contract.gates import LANGUAGE_METRICS, PREFERENCE_METRICS
from tidemill.contract.model import (
    BASELINE_FILE,
    MODEL_FILE,
    SIGNATURE_FILE,
    TOKENIZER_FILE,
    Baseline,
    Evaluation,
    Signature,
    TensorSpec,
    Tokens,
)
from tidemill.contract.tasks import TrainLanguageModel
from tidemill.contract.trainers import LanguageModelTrainer, PreferenceTrainer
from tidemill.contract.trainers.finetuning import Lora
from tidemill.contract.writing import Continuation
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.errors import DatasetEmpty, InvalidSpec, ModelInvalid
from tidemill_worker.language import base, bundle, causal, graph, report, scratch, writing
from tidemill_worker.language.completion import Completions
from tidemill_worker.language.learner import TransformerLearner
from tidemill_worker.language.lesson import Lesson
from tidemill_worker.language.likelihood import LOGITS
from tidemill_worker.language.preference import Preferences
from tidemill_worker.language.rows import SequenceMaker, TokenRow
from tidemill_worker.model import tables
from tidemill_worker.model.predictor import open_session
from tidemill_worker.model.tokens import INPUTS, padded
from tidemill_worker.report import gates
from tidemill_worker.report.plan import Plan, prepare
from tidemill_worker.train.data import PARITY
from tidemill_worker.train.epochs import Course, Training
from tidemill_worker.train.features import need_texts
from tidemill_worker.train.graph import save
from tidemill_worker.train.loop import choose_device

SPLITS = ("train", "validation", "test")
PARITY_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained model in a folder that lacks only its evaluation."""

    folder: Path
    lesson: Lesson
    maker: SequenceMaker
    tables: Mapping[str, pa.Table]
    plan: Plan
    course: Course
    continuations: Mapping[str, tuple[Continuation, ...]]
    pad: int
    device: str

    def evaluation(self) -> Evaluation:
        """Of validation and test; a split without rows is left out."""
        graph_file = self.folder / MODEL_FILE
        judged = {
            split: self.lesson.judged(split, graph_file, self.pad) for split in SPLITS[1:] if self.lesson.count(split)
        }
        return report.evaluation(
            self.lesson, judged, self.tables, self.plan, self.course.history, self.maker, self.continuations
        )


def train(task: TrainLanguageModel, context: Context) -> Trained:
    """Raise what is wrong with spec or data before anything is trained; TrainingDiverged; Terminated after SIGTERM."""
    trainer = task.trainer
    context.tracker.phase("Downloading", 0.0, task.dataset.uri)
    splits, plan = _read(task, context)
    torch.manual_seed(trainer.seed)
    model, folder = _model(task, splits["train"], context)
    end, pad = (_token(model, name) for name in ("eos_token_id", "pad_token_id"))
    pad = next((token for token in (pad, end) if token is not None), 0)
    maker = SequenceMaker(folder, max_tokens=trainer.max_tokens, end=end)
    adapters: Lora | None = trainer.lora
    lesson: Lesson
    if isinstance(trainer, PreferenceTrainer):
        lesson = Preferences(trainer, maker, splits)
    else:
        lesson = Completions(trainer, maker, splits)
    _check(task, lesson, splits, plan, context)
    device = choose_device(context, "language")
    module: nn.Module = causal.with_adapters(model, adapters) if adapters is not None else model
    module.to(device)
    learner = TransformerLearner(trainer, context, module, lesson)
    context.tracker.phase("Preprocessing", 0.05)
    lesson.begin(module, pad, device)
    write = partial(writing.write, longest=trainer.max_tokens, end=end, pad=pad)
    random = getattr(trainer.base, "scratch", None) is not None
    begun = report.begin(lesson, trainer.max_tokens, None if random else partial(write, model))
    course = Training(learner, task, context, lambda _epoch, _loss: None).run()
    context.tracker.phase("Exporting", 0.82)
    place = context.folder("model")
    if adapters is not None:
        assert isinstance(module, PeftModel), "there are adapters"
        bundle.write_adapter(module, place)
    whole = causal.merged(module)
    continuations = report.continued(begun, partial(write, whole), maker)
    whole = whole.cpu()
    save(graph.export(whole, pad=pad), place / MODEL_FILE)
    _check_parity(whole, place / MODEL_FILE, lesson.examples()[:PARITY_ROWS], pad)
    bundle.write_weights(whole, folder, place)
    _write_beside(task, place, folder, lesson.examples()[0], pad, splits["train"])
    return Trained(
        folder=place,
        lesson=lesson,
        maker=maker,
        tables=splits,
        plan=plan,
        course=course,
        continuations=continuations,
        pad=pad,
        device=device.type,
    )


def _read(task: TrainLanguageModel, context: Context) -> tuple[dict[str, pa.Table], Plan]:
    dataset = Artifact(context, task.dataset, name="dataset")
    columns = task.trainer.columns
    need_texts(pq.read_schema(dataset.fetch("train.parquet")), columns, task.field)
    plan = prepare(task.evaluation, dataset, None)
    wanted = sorted({*columns.values(), *task.evaluation.slices})
    return {split: tables.read_split(dataset, split, wanted) for split in SPLITS}, plan


def _model(task: TrainLanguageModel, train: pa.Table, context: Context) -> tuple[PreTrainedModel, Path]:
    """The model, and the folder of its tokenizer."""
    trainer = task.trainer
    found = base.fetch(trainer.base, task.base, context, task.field)
    if found is not None:
        return causal.load(found, trainer.max_tokens, task.field), found.folder
    folder = context.folder("scratch")
    spec = trainer.base.scratch if isinstance(trainer, LanguageModelTrainer) else None
    assert spec is not None, "the schema asks for exactly one base"
    texts = (str(text) for column in trainer.columns.values() for text in tables.texts(train, column))
    size = scratch.learn_tokenizer(texts, spec, folder, framed=False)
    return causal.new(spec, vocabulary=size, tokens=trainer.max_tokens, field=task.field), folder


def _token(model: PreTrainedModel, name: str) -> int | None:
    """A special token's number, by its name in the configuration; of several the first."""
    found = getattr(model.config, name, None)
    found = found[0] if isinstance(found, list) and found else found
    return found if isinstance(found, int) else None


def _check(
    task: TrainLanguageModel, lesson: Lesson, splits: Mapping[str, pa.Table], plan: Plan, context: Context
) -> None:
    """Enough rows to learn from, and those that patience and gates ask for."""
    columns = ", ".join(task.trainer.columns.values())
    if not lesson.count("train"):
        raise DatasetEmpty(
            f"{task.field}: no training row has something to learn within {task.trainer.max_tokens} tokens of {columns}",
            field=task.field,
        )
    for split, table in splits.items():
        if lesson.count(split) < table.num_rows:
            context.tracker.warn(
                f"{table.num_rows - lesson.count(split)} of {table.num_rows} rows of the {split} split are left out: empty, "
                f"alike, or nothing to learn within {task.trainer.max_tokens} tokens"
            )
    if task.trainer.patience is not None and not lesson.validation_rows:
        field = f"{task.field}.patience"
        raise InvalidSpec(f"{field} needs a validation split, which is empty", field=field)
    known = PREFERENCE_METRICS if isinstance(task.trainer, PreferenceTrainer) else LANGUAGE_METRICS
    judged = {split: table.take(pa.array(lesson.places(split))) for split, table in splits.items()}
    gates.check_rows(task.gates, judged, plan, known)


def _check_parity(model: PreTrainedModel, graph_file: Path, rows: Sequence[TokenRow], pad: int) -> None:
    """The graph must give what the trained model gives, or nothing is published."""
    session, worst = open_session(graph_file), 0.0
    for some in (rows[:1], rows):
        ids, mask = padded([row.ids for row in some], pad)
        (found,) = session.run([LOGITS], dict(zip(INPUTS, (ids, mask), strict=True)))
        with torch.no_grad():
            wanted = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.numpy()
        difference = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
        worst = max(worst, float(difference[mask.astype(bool)].max()) / PARITY)
    if not worst <= 1:
        raise ModelInvalid(f"the exported model differs from the trained one by {worst:.3g} times the tolerance")


def _write_beside(
    task: TrainLanguageModel, place: Path, tokenizer: Path, example: TokenRow, pad: int, train: pa.Table
) -> None:
    """Signature, tokenizer, calibration rows, and a baseline of no column: drift is not measured of tokens."""
    shutil.copyfile(tokenizer / TOKENIZER_FILE, place / TOKENIZER_FILE)
    signature = Signature(
        task="Other",
        inputs=tuple(TensorSpec(name=name, datatype="INT64", shape=(-1, -1)) for name in INPUTS),
        outputs=(TensorSpec(name=LOGITS, datatype="FP32", shape=(-1, -1, -1)),),
        tokens=Tokens(max_tokens=task.trainer.max_tokens, pad=pad),
        example={INPUTS[0]: [int(token) for token in example.ids], INPUTS[1]: [1] * len(example.ids)},
    )
    (place / SIGNATURE_FILE).write_text(signature.to_json())
    (place / BASELINE_FILE).write_text(Baseline(rows=train.num_rows, features=()).to_json())
