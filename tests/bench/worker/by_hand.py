"""What the trainer is measured beside: the same network trained by a loop that is nothing but PyTorch.

    torchrun --standalone --nproc-per-node 2 tests/bench/worker/by_hand.py DATA.npz [--batch 512] [--epochs 12]

prints, from rank 0, the seconds of each epoch as JSON. Data are arrays as the trainer encodes them.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tidemill_worker.train.network import TabularNetwork

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
HIDDEN, RATE = (64, 32), 1e-3


def load(path: Path) -> tuple[Tensors, Tensors, list[int]]:
    """Training and validation tensors, and the categories of each text column."""
    with np.load(path) as arrays:
        train, validation = (
            tuple(torch.from_numpy(arrays[f"{split}-{part}"]) for part in ("numbers", "codes", "target"))
            for split in ("train", "validation")
        )
        return train, validation, arrays["categories"].tolist()  # type: ignore[return-value]


def network_for(train: Tensors, categories: list[int]) -> TabularNetwork:
    """As the trainer makes it, with its default layers."""
    torch.manual_seed(0)
    return TabularNetwork(numbers=train[0].shape[1], categories=categories, hidden=HIDDEN, outputs=1, dropout=0.0)


def optimizer_for(network: nn.Module) -> torch.optim.Optimizer:
    """As the trainer makes it."""
    return torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.0, fused=True)


def epoch(
    number: int, model: nn.Module, optimizer: torch.optim.Optimizer, train: Tensors, validation: Tensors, batch: int,
    rank: int = 0, size: int = 1,
) -> tuple[float, float]:  # fmt: skip
    """Every row once in batches of a new order, of which each process takes its part; then the validation loss."""
    loss_of, total = nn.MSELoss(), torch.zeros(())
    model.train()
    order = torch.randperm(len(train[2]), generator=torch.Generator().manual_seed(number))
    for rows in torch.split(order, batch):
        mine = torch.tensor_split(rows, size)[rank]
        numbers, codes, target = (tensor[mine] for tensor in train)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(numbers, codes), target)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(mine)
    model.eval()
    with torch.no_grad():
        numbers, codes, target = (torch.tensor_split(tensor, size)[rank] for tensor in validation)
        return float(total) / len(order), float(loss_of(model(numbers, codes), target))


def main() -> None:
    """One process of torchrun's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=12)
    asked: Any = parser.parse_args()
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    train, validation, categories = load(asked.data)
    network = network_for(train, categories)
    model, optimizer = DistributedDataParallel(network, gradient_as_bucket_view=True), optimizer_for(network)
    seconds = []
    for number in range(1, asked.epochs + 1):
        began = time.perf_counter()
        epoch(number, model, optimizer, train, validation, asked.batch, dist.get_rank(), dist.get_world_size())
        seconds.append(round(time.perf_counter() - began, 4))
    if dist.get_rank() == 0:
        print(json.dumps(seconds), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
