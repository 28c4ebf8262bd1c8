"""The tap's control file, by which each model is sampled, and its counters of what it dropped."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tidemill.contract import metrics
from tidemill_agent.counters import header, series

CONTROL_FILE = "control.json"
STATS_FILE = "stats.json"


@dataclass(slots=True)
class Control:
    """Writes `control.json`, and only when it changes."""

    tap_dir: Path
    _written: bytes | None = None

    def write(self, percents: Mapping[str, float]) -> None:
        """Sample so many percent of each model's requests, and nothing of any other model."""
        models = {name: {"rate": percent / 100} for name, percent in percents.items() if percent > 0}
        text = orjson.dumps({"models": models, "default": 0}, option=orjson.OPT_SORT_KEYS)
        if text == self._written:
            return
        draft = self.tap_dir / f"{CONTROL_FILE}.draft"
        draft.write_bytes(text)
        draft.replace(self.tap_dir / CONTROL_FILE)
        self._written = text


@dataclass(slots=True)
class DroppedSamples:
    """What the tap dropped, by deployment. The tap counts from zero after each load; this does not."""

    namespace: str
    tap_dir: Path
    _totals: dict[str, int] = field(default_factory=dict)
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def available(self) -> bool:
        """Whether the server has a tap at all: it writes its counters from the first model's load on."""
        return (self.tap_dir / STATS_FILE).exists()

    def add(self, deployment: str, count: int) -> None:
        """Samples that were lost on this side."""
        with self._lock:
            self._totals[deployment] = self._totals.get(deployment, 0) + count

    def render(self) -> str:
        """The counter as text."""
        with self._lock:
            self._update()
            totals = sorted(self._totals.items())
        lines = [header(metrics.DROPPED_SAMPLES_TOTAL, "counter", "Sampled requests that the tap dropped.")]
        for deployment, total in totals:
            labels = {metrics.LABEL_NAMESPACE: self.namespace, metrics.LABEL_DEPLOYMENT: deployment}
            lines.append(f"{series(metrics.DROPPED_SAMPLES_TOTAL, labels)}{total}\n")
        return "".join(lines)

    def retain(self, deployments: Mapping[str, object]) -> None:
        """Forget deployments that are no longer placed here."""
        with self._lock:
            for gone in set(self._totals) - set(deployments):
                del self._totals[gone]
                self._last.pop(gone, None)

    def _update(self) -> None:
        try:
            stats = orjson.loads((self.tap_dir / STATS_FILE).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return  # no tap, or no model was loaded yet
        for deployment, entry in stats.get("models", {}).items():
            since, dropped = int(entry["since_ns"]), int(entry["dropped"])
            last_since, last = self._last.get(deployment, (since, 0))
            self._totals[deployment] = self._totals.get(deployment, 0) + dropped - (last if since == last_since else 0)
            self._last[deployment] = (since, dropped)
