"""How likely a language model finds sequences: by torch in training, and by the graph that will be served."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tidemill_worker.errors import ModelInvalid
from tidemill_worker.language.rows import TokenRow, batch
from tidemill_worker.model.predictor import open_session
from tidemill_worker.model.tokens import INPUTS

LOGITS = "logits"
_TOKENS = 2048
"""That are computed at a time when nothing is trained."""


def of_batch(
    model: nn.Module, rows: Sequence[TokenRow], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of the log-probabilities of each row's learnt tokens, and their number: both float32 [rows].

    Of tokens that are not learnt no probability is computed: with a vocabulary of 50,000 that is most of a batch's memory.
    """
    made = batch(rows, pad, device)
    learnt = made.learnt[:, 1:]
    logits = model(input_ids=made.ids, attention_mask=made.mask).logits[:, :-1]
    said = nn.functional.cross_entropy(logits[learnt], made.ids[:, 1:][learnt], reduction="none")
    by_row = torch.zeros(learnt.shape, device=device).masked_scatter(learnt, -said)
    return by_row.sum(dim=1), learnt.sum(dim=1).float()


def of_graph(graph: Path, rows: Sequence[TokenRow], pad: int) -> np.ndarray:
    """The same sums, float64 [rows], of a graph's logits. Raises ModelInvalid when they are no numbers."""
    session = open_session(graph)
    found = np.zeros(len(rows))
    for places in parts(rows):
        made = batch([rows[place] for place in places], pad, torch.device("cpu"))
        feed = dict(zip(INPUTS, (made.ids.numpy(), made.mask.numpy()), strict=True))
        (logits,) = session.run([LOGITS], feed)
        for row, place in enumerate(places):
            found[place] = _said(logits[row], rows[place])
    if not np.isfinite(found).all():
        raise ModelInvalid(
            f"the model's answer is not finite for {int((~np.isfinite(found)).sum())} of {len(rows)} rows"
        )
    return found


def _said(logits: np.ndarray, row: TokenRow) -> float:
    """Σ log p of a row's learnt tokens, of its logits [tokens, vocabulary]. Only theirs are looked at, as there are many."""
    learnt = np.flatnonzero(row.learnt[1:])
    before = logits[learnt].astype(np.float64)
    before -= before.max(axis=1, keepdims=True)
    said = before[np.arange(len(learnt)), row.ids[1:][learnt]] - np.log(np.exp(before).sum(axis=1))
    return math.fsum(said)


def parts(rows: Sequence[TokenRow]) -> Iterator[list[int]]:
    """Places of rows of like length, a few at a time."""
    part: list[int] = []
    for place in sorted(range(len(rows)), key=lambda place: (len(rows[place].ids), place)):
        if part and (len(part) + 1) * len(rows[place].ids) > _TOKENS:
            yield part
            part = []
        part.append(place)
    if part:
        yield part
