"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.contract.metrics import short_digest
from tidemill.contract.tracking import Scalar
from tidemill_cli.comparison import Comparison
from tidemill_cli.runs import Run, headline

ABSENT = "-"


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Left-aligned columns, three spaces apart as kubectl's are."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(indent + line.rstrip() for line in lines)


def number(value: float | None) -> str:
    """Six significant digits."""
    return ABSENT if value is None else f"{value:.6g}"


def scalar(value: Scalar | None) -> str:
    """A parameter's value; texts as they are."""
    if value is None:
        return ABSENT
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def duration(seconds: float | None) -> str:
    """`1h 2m 3s`, without leading zeros."""
    if seconds is None:
        return ABSENT
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count}{unit}" for count, unit in parts)


def digest(value: str | None) -> str:
    """The first digits."""
    return short_digest(value) if value else ABSENT


def list_runs(runs: Sequence[Run]) -> str:
    """One line a run."""
    rows = [("NAME", "MODEL", "VERSION", "DATASET", "STATUS", "METRIC", "DURATION", "STARTED")]
    for run in runs:
        found = headline(run)
        rows.append(
            (
                run.name,
                run.model,
                run.version or ABSENT,
                f"{run.dataset}@{digest(run.dataset_digest)}" if run.dataset_digest else run.dataset,
                f"{run.status} {run.epoch}".strip(),
                f"{found[0]} {number(found[1])}" if found else ABSENT,
                duration(run.seconds),
                run.started_at or ABSENT,
            )
        )
    return table(rows)


def comparison_text(comparison: Comparison) -> str:
    """The comparison for a terminal: only parameters that differ, and the best metric of each line with a star."""
    runs = comparison.runs
    head = [
        ("", *(run.name for run in runs)),
        ("status", *(f"{run.status} {run.epoch}".strip() for run in runs)),
        ("model version", *(run.version or ABSENT for run in runs)),
        ("dataset version", *(f"{run.dataset}@{digest(run.dataset_digest)}" for run in runs)),
        ("artifact", *(digest(run.artifact_digest) for run in runs)),
        ("duration", *(duration(run.seconds) for run in runs)),
    ]
    differing = comparison.differing
    parameters = [(row.name, *map(scalar, row.values)) for row in differing]
    metrics = [
        (
            f"{row.split}/{row.metric}",
            *(f"{number(value)}{' *' if i in row.best else ''}" for i, value in enumerate(row.values)),
        )
        for row in comparison.metrics
    ]
    # one width for all parts, so that a run is one column from top to bottom
    lines = table([*head, *parameters, *metrics]).splitlines()
    end = len(head), len(head) + len(parameters)
    same = len(comparison.parameters) - len(differing)
    parts = [
        "\n".join(lines[: end[0]]),
        "\n".join([f"PARAMETERS ({len(differing)} differ, {same} are the same)", *lines[end[0] : end[1]]]),
    ]
    if metrics:
        parts.append("\n".join(["METRICS (* is best)", *lines[end[1] :]]))
    return "\n\n".join(parts)
