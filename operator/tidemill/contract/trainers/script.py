"""Training by a Python file of the user's own, without an image of the user's own."""

from __future__ import annotations

import json
import posixpath
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.markers import cel, check_exactly_one, exactly_one, list_atomic, list_map, rules
from tidemill.contract.trainers.container import EnvVar, OwnTrainer

GIT_KEYS = ("username", "password")
"""Keys of the Secret of a private repository: those of a Secret of type `kubernetes.io/basic-auth`."""
_LONG_NAME = "the name of a parameter has at most 63 characters"
_OUTSIDE = "path must lie inside the repository: write it without . and .. as the names of folders"


class ConfigMapKey(Document):
    """A file in a ConfigMap of the run's namespace.

    The content that the run's first pod sees is kept in the store: later pods of the run use that, whatever becomes of the
    ConfigMap.
    """

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)
    """The ConfigMap."""
    key: str = Field(default="train.py", pattern=r"^[-._a-zA-Z0-9]*\.py$", max_length=253)
    """The key that holds the file."""
    digest: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)
    """What the file must be, `sha256:` and what `sha256sum` prints: any other content is refused."""


class GitSource(Document):
    """A file in a git repository, with the rest of the repository around it."""

    model_config = ConfigDict(
        json_schema_extra=rules(cel("!self.path.matches('(^|/)\\\\.{1,2}(/|$)')", _OUTSIDE, field=".path"))
    )

    url: str = Field(pattern=r"^https://[^/?#@\s]+/[^?#\s]+$", max_length=1024)
    """Where the repository is cloned from by https, without a user name or password in it."""
    revision: str = Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$", max_length=64)
    """The whole hash of a commit, which no later push can change."""
    path: str = Field(default="train.py", pattern=r"^[^/\s].*\.py$", max_length=512)
    """The file to run, below the root of the repository."""
    secret_name: str | None = Field(default=None, min_length=1, max_length=253)
    """A Secret of the same namespace with `username` and `password` (a token, as a rule), as those of type
    `kubernetes.io/basic-auth` have them."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if {".", ".."} & set(self.path.split("/")):
            raise ValueError(_OUTSIDE)
        return self


class ScriptTrainer(OwnTrainer):
    """A Python file, run in Tidemill's trainer image by the same contract as a container.

    It finds its parameters as JSON in `$TIDEMILL_PARAMETERS`. With `distribution` every process of every pod runs it, started
    by torchrun.
    """

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("configMap", "git")))

    config_map: ConfigMapKey | None = None
    git: GitSource | None = None
    image: str | None = Field(default=None, min_length=1, max_length=512)
    """An image of your own with `python3`, best by digest; by default Tidemill's trainer image, which has PyTorch, LightGBM,
    ONNX, NumPy and PyArrow."""
    args: tuple[Annotated[str, Field(max_length=1024)], ...] = Field(
        default=(), max_length=64, json_schema_extra=list_atomic()
    )
    """Arguments of the file."""
    parameters: dict[str, Annotated[str, Field(max_length=256)]] = Field(
        default={}, max_length=32, json_schema_extra=rules(cel("self.all(name, name.size() <= 63)", _LONG_NAME))
    )
    """By name, each written as JSON has it: `"0.01"`, `"true"` and `"[64, 32]"` arrive as such, everything else as text."""
    env: tuple[EnvVar, ...] = Field(default=(), max_length=64, json_schema_extra=list_map("name"))
    """Environment variables."""
    env_from_secret: str | None = Field(default=None, min_length=1, max_length=253)
    """A Secret of the same namespace whose keys become environment variables."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "config_map", "git")
        return self

    @property
    def path(self) -> str:
        """The file, below the folder of the code."""
        return self.git.path if self.git else self.config_map.key if self.config_map else ""

    @property
    def folder(self) -> str:
        """The file's own folder, '' for the top one."""
        return posixpath.dirname(self.path)

    @property
    def values(self) -> dict[str, Any]:
        """The parameters as they arrive."""
        return {name: _meant(text) for name, text in self.parameters.items()}


def _meant(text: str) -> Any:
    """What JSON understands by it. NaN and its like are no JSON, though Python reads them: they stay text."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return text
