"""A Triton server with the sampling tap on, and what a test asks of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.serving.triton import Triton

from tidemill_agent.tap import Batch, Record, iter_records, read_batches, segments


def wait_for(what: str, condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Polls until the condition holds; fails naming what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Tapped(Triton):
    """`settings`: `default` is the sampling rate; names in capitals are environment variables."""

    def __init__(self, library: Path, folder: Path, settings: dict[str, float | str]) -> None:
        environment = {name: str(value) for name, value in settings.items() if name.isupper()}
        super().__init__(library, environment={**environment, "TIDEMILL_TAP_DIR": str(folder)})
        self.tap = folder
        folder.mkdir(parents=True)
        self.set_rates(default=float(settings.get("default", 0.0)))

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def set_rates(self, *, default: float = 0.0, models: dict[str, float] | None = None) -> None:
        """Writes the control file as the agent does: whole, by rename."""
        rates = {name: {"rate": rate} for name, rate in (models or {}).items()}
        temporary = self.tap / "control.tmp"
        temporary.write_text(json.dumps({"default": default, "models": rates}))
        os.replace(temporary, self.tap / "control.json")

    def stats(self) -> dict[str, Any]:
        """The counters as last published."""
        try:
            return dict(json.loads((self.tap / "stats.json").read_text()))
        except FileNotFoundError:
            return {"models": {}}

    def counters(self, model: str) -> dict[str, Any]:
        """One model's counters; zeros before it is seen."""
        return dict(
            self.stats()["models"].get(model, {"seen": 0, "sampled": 0, "written": 0, "dropped": 0, "rate": 0.0})
        )

    def settled(self, model: str, seen: int) -> dict[str, Any]:
        """Waits until all requests are counted and every sample is written or dropped, then gives the counters."""

        def complete() -> bool:
            now = self.counters(model)
            return bool(now["seen"] >= seen and now["sampled"] == now["written"] + now["dropped"])

        wait_for(f"{seen} requests counted and written", complete)
        wait_for("the last segment is complete", lambda: not list((self.tap / "segments").glob("*.part")))
        return self.counters(model)

    def records(self) -> list[Record]:
        """All records in complete segments."""
        return [record for path in segments(self.tap) for record in iter_records(path)]

    def batches(self) -> list[Batch]:
        """All batches in complete segments."""
        return [batch for path in segments(self.tap) for batch in read_batches(path)]

    def disk(self) -> int:
        """Bytes of all segment files."""
        return sum(path.stat().st_size for path in (self.tap / "segments").iterdir())
