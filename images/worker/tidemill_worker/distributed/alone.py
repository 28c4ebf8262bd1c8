"""How the processes of a training work together, and what that comes to when there is only one, as there is mostly."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import nn

    Network = TypeVar("Network", bound=nn.Module)


class Alone:
    """One process, which does everything and waits for nobody. `group.ProcessGroup` is one of several."""

    size = 1
    leads = True
    """Whether this process speaks for all: it stores checkpoints and the model."""
    keeps_state = True
    """Whether it is needed to encode the training's state: that of FSDP is spread over all of them."""
    progressed = False
    """Whether an epoch was completed since the group was formed."""

    def form(self) -> None:
        """Meet the others. Raises PeersLost, as everything that speaks to them, when they cannot be reached."""

    def wrap(self, network: nn.Module) -> nn.Module:
        """What to call in training instead of the network. Optimizers are made afterwards: parameters may be replaced."""
        return network

    def whole(self, network: Network) -> Network:
        """The trained network in one piece."""
        return network

    def share(self, rows: int) -> tuple[slice, float]:
        """Which of so many rows are this process's, and the weight of their mean loss.

        Gradients are averaged over the processes, whose shares differ by a row: with these weights the average is the gradient
        of the mean over all rows. A process for which no row is left takes the first one and counts it nothing.
        """
        return slice(0, rows), 1.0

    def mean(self, value: torch.Tensor) -> float:
        """A number averaged over the processes: the same bits for all of them, so that they decide alike."""
        return float(value)

    def agreed(self, read: Callable[[], bytes | None]) -> bytes | None:
        """What the leader reads."""
        return read()

    def begin_epoch(self, seed: int) -> None:
        """Wait for all, and draw other random numbers than they do. With one process neither is needed."""

    def watching(self) -> AbstractContextManager[None]:
        """Turns the errors of collectives into PeersLost, or into Terminated once all were asked to end."""
        return nullcontext()

    def follow(self) -> None:
        """Behind the training: only the leader goes on. The others wait until it is done, for if it is lost its successor
        needs them; then they are dismissed."""

    def disband(self) -> None:
        """The leader's last word: it is done."""
