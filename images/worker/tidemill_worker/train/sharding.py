"""Tensors that FSDP has spread over processes: in one piece for a checkpoint, and back. Others are left as they are.

Spread tensors are told by what they can do, not by their class: importing that would take every training seconds.
"""

from __future__ import annotations

from typing import Any, cast

import torch


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in one piece. All processes of the group call it together."""
    return cast(torch.Tensor, tensor.full_tensor()) if hasattr(tensor, "full_tensor") else tensor


def like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A tensor in one piece, which all processes have, spread as the other one is. Nothing is sent."""
    if not hasattr(other, "placements") or tensor.shape != other.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    spread: Any = other
    return distribute_tensor(tensor.to(other.device), spread.device_mesh, spread.placements, src_data_rank=None)
