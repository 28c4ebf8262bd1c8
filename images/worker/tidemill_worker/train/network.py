"""The network: embeddings for text columns, then linear layers with ReLU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from tidemill_worker.train.features.vocabulary import FIRST


def embedding_size(categories: int) -> int:
    """Grows slowly with the number of categories."""
    return min(32, max(2, round(1.6 * math.pow(categories, 0.56))))


class TabularNetwork(nn.Module):
    """Encoded numbers and category indices in, `outputs` numbers out."""

    def __init__(
        self, *, numbers: int, categories: Sequence[int], hidden: Sequence[int], outputs: int, dropout: float
    ) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(number + FIRST, embedding_size(number)) for number in categories)
        with torch.no_grad():
            for embedding in self.embeddings:
                assert isinstance(embedding, nn.Embedding)
                embedding.weight.mul_(0.1)
                embedding.weight[:FIRST] = 0  # what training never shows must not be noise later
        widths = [numbers + sum(embedding_size(number) for number in categories), *hidden, outputs]
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.dropout = nn.Dropout(dropout)

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        parts = [numbers, *(embedding(codes[:, i]) for i, embedding in enumerate(self.embeddings))]
        value = torch.cat(parts, dim=1)
        for linear in self.linears[:-1]:
            value = self.dropout(torch.relu(linear(value)))
        last: torch.Tensor = self.linears[-1](value)
        return last
