"""The operator's /metrics, read: sums over samples, and what was added between two readings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """All samples of one reading."""

    samples: Mapping[tuple[str, Labels], float]

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels; 0 when there are none."""
        wanted = labels.items()
        return sum(
            value for (found, has), value in self.samples.items() if found == name and wanted <= dict(has).items()
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums of a metric by the values of one of its labels."""
        sums: Counter[str] = Counter()
        for (found, labels), value in self.samples.items():
            if found == name:
                sums[dict(labels).get(label, "")] += value
        return dict(sums)

    def since(self, before: Reading) -> Reading:
        """What was added to each sample since an earlier reading of the same process."""
        return Reading({key: value - before.samples.get(key, 0.0) for key, value in self.samples.items()})


def parse(text: str) -> Reading:
    """Reads the text format."""
    samples: dict[tuple[str, Labels], float] = {}
    for line in text.splitlines():
        if not line.startswith("#") and (found := _LINE.match(line)):
            name, labels, value = found.groups()
            samples[name, tuple(sorted(_LABEL.findall(labels or "")))] = float(value)
    return Reading(samples)
