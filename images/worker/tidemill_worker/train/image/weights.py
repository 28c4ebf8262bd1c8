"""Weights as a file of their own (safetensors: plain arrays with names, nothing that could run), to begin a training with."""

from __future__ import annotations

import hashlib

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from tidemill.contract.trainers import ImageTrainer
from tidemill_worker import log
from tidemill_worker.context import Context
from tidemill_worker.errors import ArtifactCorrupt, InvalidData
from tidemill_worker.train.image.network import ImageNetwork

_HEAD = "head."


def encode(network: ImageNetwork) -> bytes:
    """The file: parameters and statistics by name."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()})


def begin(network: ImageNetwork, trainer: ImageTrainer, context: Context, field: str) -> None:
    """Start from the weights that the spec names, if it does; a head for other classes is drawn anew.

    Raises ObjectNotFound, ArtifactCorrupt when the file is another one, InvalidData when it does not fit the network.
    """
    start, where = trainer.start_from, f"{field}.startFrom"
    if start is None:
        return
    body = context.store.read(start.uri)
    found = hashlib.sha256(body).hexdigest()
    if found != start.sha256:
        raise ArtifactCorrupt(f"{where}: {start.uri} has sha256 {found}, not {start.sha256}", field=f"{where}.sha256")
    context.inputs[start.uri] = f"sha256:{found}"
    try:
        given = load(body)
    except SafetensorError as error:
        raise InvalidData(f"{where}: {start.uri} is no safetensors file: {error}", field=f"{where}.uri") from error
    own = network.state_dict()
    _check(given, own, where, start.uri)
    head = all(given[name].shape == own[name].shape for name in own if name.startswith(_HEAD))
    if not head:
        log.info("the last layer is for other classes and begins anew", weights=start.uri)
    network.load_state_dict({name: given[name] if head or not name.startswith(_HEAD) else own[name] for name in own})
    if start.train == "Head":
        network.freeze()


def _check(given: dict[str, torch.Tensor], own: dict[str, torch.Tensor], where: str, uri: str) -> None:
    """Every weight but the head's must be there, and as large."""
    for name, tensor in own.items():
        if name not in given:
            raise InvalidData(
                f"{where}: {uri} has no weight {name}: are filters the same as in the training that it is from?",
                field=where,
            )
        if not name.startswith(_HEAD) and given[name].shape != tensor.shape:
            raise InvalidData(
                f"{where}: weight {name} of {uri} has shape {list(given[name].shape)}, this network's "
                f"{list(tensor.shape)}: take the same filters and channels as in the training that it is from",
                field=where,
            )
