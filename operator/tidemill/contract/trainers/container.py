"""Training by code of the user's own: what all of it has in common, and a container of the user's own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidemill.contract.base import Document
from tidemill.contract.columns import Column
from tidemill.contract.markers import list_atomic, list_map


class EnvVar(Document):
    """A plain environment variable; secrets come through `envFromSecret`."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)
    """Name of the variable."""
    value: str = Field(default="", max_length=4096)
    """Its value."""


class OwnTrainer(Document):
    """What the model of a user's code is judged by: the code itself decides everything else."""

    target: Column
    """The column that the model predicts: the evaluation needs it."""
    task: Literal["Regression", "Classification"] = "Regression"
    """What the model does: it decides which metrics are computed."""


class ContainerTrainer(OwnTrainer):
    """Any image by contract.

    It finds `train.parquet`, `validation.parquet` and `test.parquet` in `$TIDEMILL_INPUT`, and what it left in an earlier pod
    in `$TIDEMILL_CHECKPOINT`; it writes `model.onnx` and, if it likes, `metrics.jsonl` (a line a step, read while it runs) and
    `metrics.json` ({"validation": {"mae": 1.0}, "test": {...}}) to `$TIDEMILL_OUTPUT`, and exits 0. See docs/own-code.md.
    """

    image: str = Field(min_length=1, max_length=512)
    """The image, best by digest."""
    command: tuple[str, ...] | None = Field(default=None, max_length=64, json_schema_extra=list_atomic())
    """Entry point, instead of the image's."""
    args: tuple[str, ...] | None = Field(default=None, max_length=64, json_schema_extra=list_atomic())
    """Arguments, instead of the image's."""
    env: tuple[EnvVar, ...] = Field(default=(), max_length=64, json_schema_extra=list_map("name"))
    """Environment variables."""
    env_from_secret: str | None = Field(default=None, max_length=253)
    """A Secret of the same namespace whose keys become environment variables."""
