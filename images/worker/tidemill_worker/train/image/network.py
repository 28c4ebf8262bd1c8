"""The network: pixels are scaled, then blocks of convolution, batch normalisation, ReLU and pooling, then one linear layer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import nn


class ImageNetwork(nn.Module):
    """Pixels uint8 [rows, height, width, channels] in, a logit for each class out."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, *, shape: tuple[int, int, int], filters: Sequence[int], classes: int, dropout: float) -> None:
        super().__init__()
        self.shape, self.frozen = shape, False
        channels = shape[2]
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
            for a, b in itertools.pairwise((channels, *filters))
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(filters[-1], classes)

    def learn_scale(self, pixels: np.ndarray) -> None:
        """Mean and standard deviation of each channel over the training pictures."""
        flat = pixels.reshape(-1, self.shape[2])
        counts = np.stack([np.bincount(flat[:, channel], minlength=256) for channel in range(self.shape[2])])
        level = np.arange(256.0)
        mean = counts @ level / len(flat)
        square = counts @ level**2 / len(flat) - mean**2
        self.mean.copy_(torch.from_numpy(mean))
        self.deviation.copy_(torch.from_numpy(np.where(square > 0, np.sqrt(np.maximum(square, 0)), 1.0)))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        value = ((pixels.to(torch.float32) - self.mean) / self.deviation).permute(0, 3, 1, 2)
        for block in self.blocks:
            value = block(value)
        last: torch.Tensor = self.head(self.dropout(value.mean(dim=(2, 3))))
        return last

    def freeze(self) -> None:
        """Train the last layer alone."""
        self.frozen = True
        self.blocks.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Blocks that are not trained keep their statistics as well."""
        super().train(mode)
        if self.frozen:
            self.blocks.eval()
        return self
