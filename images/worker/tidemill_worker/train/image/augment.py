"""Training pictures, mirrored and moved at random: what a picture shows stays the same (Shorten & Khoshgoftaar 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch.nn import functional

from tidemill.contract.trainers import ImageTrainer


@dataclass(frozen=True, slots=True)
class Augmentation:
    """An `Augment` of pixels uint8 [rows, height, width, channels]."""

    sideways: bool
    upside_down: bool
    shift: int

    @classmethod
    def of(cls, trainer: ImageTrainer) -> Self | None:
        """As the spec asks; None when nothing is to be done."""
        if trainer.flip == "None" and not trainer.shift:
            return None
        return cls(trainer.flip != "None", trainer.flip == "Both", trainer.shift)

    def __call__(self, inputs: list[torch.Tensor], generator: torch.Generator) -> list[torch.Tensor]:
        """Each picture for itself."""
        (pixels,) = inputs
        if self.sideways:
            pixels = _mirrored(pixels, 2, generator)
        if self.upside_down:
            pixels = _mirrored(pixels, 1, generator)
        return [_moved(pixels, self.shift, generator) if self.shift else pixels]


def _mirrored(pixels: torch.Tensor, axis: int, generator: torch.Generator) -> torch.Tensor:
    chosen = torch.rand(len(pixels), generator=generator).to(pixels.device) < 0.5
    return torch.where(chosen[:, None, None, None], pixels.flip(axis), pixels)


def _moved(pixels: torch.Tensor, shift: int, generator: torch.Generator) -> torch.Tensor:
    """A window of the picture's size, cut from the picture with black around it."""
    rows, height, width, _ = pixels.shape
    padded = functional.pad(pixels, (0, 0, shift, shift, shift, shift))
    top, left = torch.randint(0, 2 * shift + 1, (2, rows), generator=generator).to(pixels.device)
    down = top[:, None] + torch.arange(height, device=pixels.device)
    right = left[:, None] + torch.arange(width, device=pixels.device)
    each = torch.arange(rows, device=pixels.device)
    return padded[each[:, None, None], down[:, :, None], right[:, None, :]]
