"""Where the weights come from: a folder of the store, an earlier ModelVersion, or nowhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from tidemill.contract.layout import join
from tidemill.contract.model import TOKENIZER_FILE, WEIGHTS_FOLDER
from tidemill.contract.tasks import ModelRef
from tidemill.contract.trainers.finetuning import StoredBase, TrainedBase
from tidemill_worker.artifact import Artifact
from tidemill_worker.context import Context
from tidemill_worker.errors import ArtifactCorrupt, InvalidData, InvalidSpec, ObjectNotFound

CONFIG_FILE = "config.json"
_READ = (".json", ".safetensors")
"""What is read of a folder: no pickle, no code."""
_LOADING: dict[str, Any] = {
    "dtype": torch.float32,
    "attn_implementation": "eager",
    "use_safetensors": True,
    "local_files_only": True,
    "trust_remote_code": False,
    "output_loading_info": True,
}
"""How every model is loaded: single precision, attention in plain operators, nothing but the folder's own files."""
_FROM_PAD = ("roberta", "xlm-roberta", "camembert")
"""Architectures that number positions from the filling token's number on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A folder in Hugging Face's layout, and where it is named in the spec."""

    folder: Path
    config: dict[str, Any]
    field: str

    def check_length(self, tokens: int, field: str) -> None:
        """Raise InvalidSpec when rows may be longer than the model's positions."""
        positions = self.config.get("max_position_embeddings", self.config.get("n_positions"))
        if isinstance(positions, int) and self.config.get("model_type") in _FROM_PAD:
            positions -= 1 + int(self.config.get("pad_token_id") or 0)
        if isinstance(positions, int) and tokens > positions:
            raise InvalidSpec(
                f"{field}.maxTokens: the base takes {positions} tokens, not {tokens}", field=f"{field}.maxTokens"
            )


def fetch(spec: TrainedBase, version: ModelRef | None, context: Context, field: str) -> Base | None:
    """The base that the spec names, verified; None when it begins with random weights.

    Raises ObjectNotFound when the folder lacks a file, InvalidData when it is not the one that was meant, InvalidSpec when the
    ModelVersion is none of a transformer.
    """
    if spec.store is not None:
        folder, field = _stored(spec.store, context, f"{field}.base.store"), f"{field}.base.store"
    elif version is not None:
        folder, field = _version(version, context, f"{field}.base.modelVersion"), f"{field}.base.modelVersion"
    else:
        return None
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
    except ValueError as error:
        raise InvalidData(f"{field}: {CONFIG_FILE} is not JSON: {error}", field=field) from error
    return Base(folder=folder, config=config, field=field)


def _stored(spec: StoredBase, context: Context, field: str) -> Path:
    root = spec.uri.rstrip("/") + "/"
    there = sorted(found.uri.removeprefix(root) for found in context.store.objects(root))
    names = [name for name in there if "/" not in name and name.endswith(_READ)]
    lacking = [name for name in (CONFIG_FILE, TOKENIZER_FILE) if name not in names]
    if not any(name.endswith(".safetensors") for name in names):
        lacking.append("model.safetensors")
    if lacking:
        raise ObjectNotFound(
            f"{field}.uri: {root} has no {lacking[0]} ({', '.join(there[:8]) or 'nothing is there'}): a base is a folder in "
            "Hugging Face's layout with safetensors; weights in other formats are not read",
            field=f"{field}.uri",
        )
    folder, lines = context.folder("base"), ""
    for name in names:
        lines += f"{context.store.download(join(root, name), folder / name)}  {name}\n"
    found = "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    if found != spec.digest:
        raise InvalidData(
            f"{field}.digest: {root} holds {found} ({', '.join(names)}), not {spec.digest}: it was changed, or the digest is "
            "of other files",
            field=f"{field}.digest",
        )
    context.inputs[spec.uri] = spec.digest
    return folder


def _version(version: ModelRef, context: Context, field: str) -> Path:
    artifact = Artifact(context, version, name="base")
    names = [e.path for e in artifact.manifest.files if e.path.startswith(f"{WEIGHTS_FOLDER}/")]
    if not names:
        raise InvalidSpec(
            f"{field}: ModelVersion {version.name} has no folder {WEIGHTS_FOLDER}/: only what textClassification, "
            "languageModel and preference have trained can be trained further",
            field=field,
        )
    for name in names:
        artifact.fetch(name)
    folder = artifact.fetch(names[0]).parent
    if not (folder / CONFIG_FILE).exists():
        raise ArtifactCorrupt(f"{join(version.uri, WEIGHTS_FOLDER)} has no {CONFIG_FILE}")
    return folder


def load(auto: Any, found: Base, *, new_share: float = 0.0, **more: Any) -> PreTrainedModel:
    """The base's model, by a class of transformers that chooses by the configuration.

    `new_share` of its numbers may be lacking, and are random then. Raises InvalidData, with the library's words, when the
    folder cannot be loaded, or when more is lacking: the library would train what is random without a word.
    """
    with _in_users_terms(found):
        model, told = auto.from_pretrained(found.folder, **_LOADING, **more)
    assert isinstance(model, PreTrainedModel), "that is what these classes make"
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    lacking = sorted(name for name in told["missing_keys"] if name in sizes)
    if sum(sizes[name] for name in lacking) > new_share * sum(sizes.values()):
        raise InvalidData(
            f"{found.field}: {len(lacking)} of {len(sizes)} weights are not in the folder, {lacking[0]} among them: "
            f"{CONFIG_FILE} and the safetensors are of different models",
            field=found.field,
        )
    return model


def configuration(found: Base) -> PretrainedConfig:
    """The base's configuration, as transformers knows it. Raises InvalidData as `load`."""
    with _in_users_terms(found):
        config = AutoConfig.from_pretrained(found.folder, local_files_only=True, trust_remote_code=False)
    assert isinstance(config, PretrainedConfig), "that is what the class makes"
    return config


@contextmanager
def _in_users_terms(base: Base) -> Iterator[None]:
    """A folder that the libraries cannot load is the user's matter: InvalidData, with their words."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InvalidData(f"{base.field}: the model cannot be loaded: {line}", field=base.field) from error
