"""Triton's own trace as the tap of models whose backend has none: from a version on in which it is sound.

Older servers are not traced: theirs crashes them after tens of thousands of traced requests (upstream's server PR #8144).
Settings are sent when they change and when the server is a new one. Triton keeps up to LOG_FREQUENCY sampled requests of a
model in memory; sending the same settings again makes it write them, which is done for models with new requests only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tidemill.contract.names import TRACE_FILE
from tidemill.contract.reasons import Reason
from tidemill_agent import log
from tidemill_agent.errors import TritonRefused
from tidemill_agent.status import NoSampling
from tidemill_agent.triton import Triton

MINIMUM_VERSION = (2, 58)
"""Release 25.05, the first with upstream's fix."""
LOG_FREQUENCY = 500
FLUSH_SECONDS = 15.0
ENOUGH = 10
"""A write out starts Triton's count of requests anew: after so many samples what is lost by that is small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a loaded model is to be traced."""

    version: int
    percent: float

    @property
    def rate(self) -> int:
        """Every how many-th request; 0 for none. Triton knows whole numbers only."""
        return max(round(100 / self.percent), 1) if self.percent > 0 else 0


class Trace:
    """The trace settings of one server."""

    def __init__(self, triton: Triton, tap_dir: Path, *, minimum: tuple[int, ...] = MINIMUM_VERSION) -> None:
        self._triton, self._file, self._minimum = triton, str(tap_dir / TRACE_FILE), minimum
        self.problem: NoSampling | None = None
        """Why this server cannot trace, as far as that is known."""
        self._sent: dict[str, Wanted] = {}
        self._batched: dict[str, bool] = {}
        self._counts: dict[str, int] = {}
        """Requests of each model when its settings were last sent."""
        self._looked: dict[str, int] = {}
        self._flush_at = 0.0

    def batched(self, model: str) -> bool | None:
        """Whether a model that was traced batches."""
        return self._batched.get(model)

    async def inspect(self) -> None:
        """A server came up: it has no settings of ours, and may be of another version."""
        self._sent.clear()
        self._counts.clear()
        self.problem = self._too_old(await self._triton.version()) or await self._no_file()

    async def apply(self, wanted: Mapping[str, Wanted], now: float) -> None:
        """Trace these loaded models so, and no others; have samples written out now and then."""
        if self.problem is not None:
            return
        for model, how in wanted.items():
            if self._sent.get(model) != how:
                await self._send(model, how)
        for model in self._sent.keys() - wanted.keys():
            await self._send(model, Wanted(version=self._sent[model].version, percent=0))
            self._sent.pop(model, None)
        if now >= self._flush_at and any(how.rate for how in self._sent.values()):
            self._flush_at = now + FLUSH_SECONDS
            await self._flush()

    async def _send(self, model: str, how: Wanted) -> None:
        try:
            if how.rate:
                config = await self._triton.config(model, how.version)
                self._batched[model] = int(config.get("max_batch_size", 0)) > 0
            await self._triton.trace(model, rate=how.rate, log_frequency=LOG_FREQUENCY)
        except TritonRefused as error:
            # Not loaded any more, most of all; while it is wanted, the next look tries again.
            log.info("a model's trace is not set", deployment=model, reason=str(error))
            self._sent.pop(model, None)
        else:
            self._sent[model] = how

    async def _flush(self) -> None:
        counts = await self._triton.requests()
        for model, how in list(self._sent.items()):
            count = counts.get(model, 0)
            # Counted from zero again after each load.
            new = count - (self._counts.get(model, 0) if self._counts.get(model, 0) <= count else 0)
            quiet = self._looked.get(model) == count
            if how.rate and (new >= ENOUGH * how.rate or (quiet and new >= how.rate)):
                await self._send(model, how)
                self._counts[model] = count
        self._looked = counts

    def _too_old(self, version: tuple[int, ...]) -> NoSampling | None:
        if version >= self._minimum:
            return None
        return NoSampling(
            Reason.SERVER_TOO_OLD,
            f"not sampled: this server is Triton {_text(version)}, whose trace crashes it after long runs, and it has no tap "
            f"of its own for this model; give the ServingPool an image with Triton {_text(self._minimum)} or newer (release "
            "25.05), or use runtime CPU (the project's own backend) with an ONNX model, or set sampling to 0",
        )

    async def _no_file(self) -> NoSampling | None:
        try:
            file = (await self._triton.trace_setting()).get("trace_file")
        except TritonRefused as error:
            return NoSampling(Reason.NOT_SUPPORTED, f"not sampled: this Triton is built without trace ({error})")
        if file == self._file:
            return None
        return NoSampling(
            Reason.NOT_SUPPORTED,
            f"not sampled: the server's trace file is {file!r}, which only its command line can set; a pool with runtime "
            f"NVIDIA has --trace-config=triton,file={self._file}; use that runtime, or set sampling to 0",
        )


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
