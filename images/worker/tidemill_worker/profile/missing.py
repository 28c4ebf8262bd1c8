"""Which columns are missing in the same rows. Pure numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tidemill.contract.profile import Missing, MissingPattern, MissingTogether
from tidemill_worker.profile.rounding import places

COLUMNS = 60
PAIRS, PATTERNS = 20, 10
_CHUNK = 1 << 16
Packed = npt.NDArray[np.uint8]


def together(flags: dict[str, Packed], rows: int, *, step: int = 1) -> Missing:
    """Pairs by phi, patterns by frequency, of columns that are missing in some rows. One packed bit a row (`np.packbits`);
    every row stands for `step`."""
    absent = {name: int(np.bitwise_count(packed).sum()) for name, packed in flags.items()}
    names = sorted((n for n, count in absent.items() if 0 < count < rows), key=lambda n: -absent[n])[:COLUMNS]
    if not names:
        return Missing()
    bits = np.zeros(rows, dtype=np.int64)
    for i, name in enumerate(names):
        bits |= np.unpackbits(flags[name], count=rows).astype(np.int64) << i
    patterns, counts = np.unique(bits, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:PATTERNS]
    return Missing(
        columns=tuple(names),
        pairs=_pairs(names, rows, patterns, counts, step),
        patterns=tuple(
            MissingPattern(
                columns=tuple(name for i, name in enumerate(names) if patterns[p] >> i & 1), rows=int(counts[p]) * step
            )
            for p in order.tolist()
        ),
    )


def _pairs(
    names: list[str], rows: int, patterns: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], step: int
) -> tuple[MissingTogether, ...]:
    both = np.zeros((len(names), len(names)))
    for start in range(0, len(patterns), _CHUNK):
        part = (patterns[start : start + _CHUNK, None] >> np.arange(len(names)) & 1).astype(np.float64)
        both += part.T @ (part * counts[start : start + _CHUNK, None])
    alone = np.diag(both)
    spread = alone * (rows - alone)
    phi = (rows * both - np.outer(alone, alone)) / np.sqrt(np.outer(spread, spread))
    pairs = [
        MissingTogether(first=names[i], second=names[j], rows=int(both[i, j]) * step, phi=places(float(phi[i, j])) or 0)
        for j in range(len(names))
        for i in range(j)
        if both[i, j] and phi[i, j] > 0
    ]
    return tuple(sorted(pairs, key=lambda p: (-p.phi, -p.rows))[:PAIRS])
