"""What all trainings of transformers have in common: where the weights come from, and how they are fine-tuned."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.markers import cel, check_exactly_one, exactly_one, rules


class StoredBase(Document):
    """A folder of the object store in Hugging Face's layout: config.json, model.safetensors, tokenizer.json.

    Only `*.json` and `*.safetensors` are read: no pickle, and no code that comes with a model.
    """

    uri: str = Field(pattern=r"^s3://[^/]+/.+$", max_length=1024)
    """The folder, in the store that holds the datasets: `s3://models/bert-base/`."""
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)
    """What the folder must hold, as `sha256sum *.json *.safetensors | LC_ALL=C sort -k 2 | sha256sum` says inside of it."""


class Scratch(Document):
    """Random weights: an architecture alone. Its context length is maxTokens.

    The tokenizer is a byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) learnt from the training split.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.width % (2 * self.heads) == 0", "width must be an even multiple of heads", field=".width")
        )
    )

    layers: int = Field(default=2, ge=1, le=96)
    """Transformer blocks."""
    width: int = Field(default=128, ge=8, le=8192)
    """Numbers that stand for a token between the blocks; the feed-forward layers are four times as wide."""
    heads: int = Field(default=4, ge=1, le=128)
    """Attention heads of a block."""
    vocabulary: int = Field(default=4096, ge=300, le=262_144)
    """Tokens of the tokenizer, at most: 256 bytes, a few special ones, and the most frequent merges."""

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError("width must be an even multiple of heads")
        return self


_VERSION = Field(default=None, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)


class TrainedBase(Document):
    """A model that was trained before: exactly one of store and modelVersion."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("store", "modelVersion")))

    store: StoredBase | None = None
    model_version: Annotated[str | None, _VERSION] = None
    """A ModelVersion of the same namespace that a trainer of this kind made: `support-v3`. It must be verified."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, *_choices(self))
        return self


class AnyBase(TrainedBase):
    """Where the weights come from: exactly one of store, modelVersion and scratch."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("store", "modelVersion", "scratch")))

    scratch: Scratch | None = None


def _choices(base: TrainedBase) -> tuple[str, ...]:
    return tuple(type(base).model_fields)


class Lora(Document):
    """Low-rank adapters beside all linear layers (Hu et al. 2022): only they are trained, then merged into the weights."""

    rank: int = Field(default=16, ge=1, le=1024)
    """Rank of each adapter."""
    alpha: float = Field(default=32.0, gt=0, le=10_000)
    """An adapter counts alpha / rank times."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are dropped in training."""


class FineTuning(Document):
    """How weights are fine-tuned: AdamW, gradients of norm 1 at most, a learning rate that rises and falls linearly.

    All of them are numbers of 32 bits. Rows of tokens are cut at maxTokens.
    """

    max_tokens: int = Field(default=256, ge=2, le=131_072)
    """Tokens of a row, at most: what is longer is cut. Memory and time grow faster than it."""
    epochs: int = Field(default=3, ge=1, le=100_000)
    """Epochs, at most. Progress, metrics, checkpoints, validation and patience count in epochs."""
    steps_per_epoch: int | None = Field(default=None, ge=1, le=1_000_000)
    """Optimiser steps that make an epoch; by default as many as a pass over the training split has. Take fewer where a pass
    takes long: every epoch ends with a checkpoint and a validation."""
    batch_size: int = Field(default=16, ge=1, le=65_536)
    """Rows of one optimiser step."""
    learning_rate: float = Field(default=5e-5, gt=0, le=1)
    """Step size of the optimiser at its greatest."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of all steps in which the learning rate rises from 0; in the others it falls to 0."""
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    """Pulls matrices towards zero; not biases and norms."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when the validation loss has not fallen for so many epochs; the best weights are kept."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Seed of new weights, dropout and the order of rows."""
