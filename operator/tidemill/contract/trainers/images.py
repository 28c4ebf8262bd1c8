"""The built-in trainer of image classifiers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column
from tidemill.contract.markers import cel, list_atomic, rules
from tidemill.contract.trainers.descent import Descent

Side = Annotated[int, Field(ge=8, le=512)]
_LEAST_SIDE = [1, 2, 4, 8, 16, 32, 64, 128, 256]
"""Of a picture, by the number of blocks: each halves it."""


_NOTHING_LEFT = "each block halves the picture: so many filters leave nothing of it"


class StartFrom(Document):
    """Weights to begin with: `weights.safetensors` of an earlier model of this trainer, or of your own with the same names."""

    uri: str = Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$", max_length=1024)
    """The file in the store."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of its bytes, as the model's manifest has it and `sha256sum` prints it: another content is refused."""
    train: Literal["All", "Head"] = "All"
    """All: every weight is trained on. Head: only the last layer, what it sees stays as it was learnt before."""


class ImageTrainer(Descent):
    """A convolutional network that says what a picture shows, trained from scratch or from earlier weights.

    Each block is a convolution of 3 × 3, batch normalisation (Ioffe & Szegedy 2015), ReLU and a maximum over 2 × 2; the mean
    over what is left of the picture goes into one linear layer. The graph takes pixels as they are, uint8 [batch, height,
    width, channels]: the client decodes and resizes, the graph scales.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.target != self.image", "the target cannot be the image", field=".image"),
            cel(f"self.height >= {_LEAST_SIDE}[self.filters.size()] && self.width >= {_LEAST_SIDE}[self.filters.size()]",
                _NOTHING_LEFT, field=".filters"),
        )
    )  # fmt: skip

    target: Column
    """The column with the class."""
    image: Column
    """The column with the picture: the bytes of a PNG or JPEG file, or a list of height × width × channels whole numbers from 0
    to 255, row by row, the channels of a pixel beside each other."""
    height: Side = 32
    """Pixels. Pictures of another size are resized (bilinear); lists must have this one."""
    width: Side = 32
    """Pixels."""
    channels: Literal["RGB", "Grey"] = "RGB"
    """What of a pixel is looked at; pictures are converted. Transparent ones are laid on black."""
    filters: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        default=(16, 32, 64), min_length=1, max_length=8, json_schema_extra=list_atomic()
    )
    """Filters of each block."""
    flip: Literal["None", "Horizontal", "Both"] = "None"
    """Half of the training pictures are mirrored, each time anew: left to right, or also top to bottom."""
    shift: int = Field(default=0, ge=0, le=64)
    """Each training picture is moved by up to so many pixels either way, black coming in (padding and a random crop)."""
    class_weights: Literal["None", "Balanced"] = "None"
    """Balanced: every class weighs the same however rare it is; the probabilities are then no longer the classes'
    frequencies."""
    batch_size: int = Field(default=64, ge=1, le=65_536)
    """Pictures of one optimiser step."""
    start_from: StartFrom | None = None
    """Without it, weights are drawn by `seed`."""

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if min(self.height, self.width) < _LEAST_SIDE[len(self.filters)]:
            raise ValueError(_NOTHING_LEFT)
        return self
