"""The figures of run.py as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping

COLUMNS = (
    ("import: CPU s", "import", "import_cpu_seconds", 2),
    ("RSS imported, MB", "import", "rss_imported_mb", 0),
    ("list in pages: CPU s", "list_pages", "cpu_seconds", 2),
    ("peak MB", "list_pages", "rss_peak_mb", 0),
    ("list whole: CPU s", "list_whole", "cpu_seconds", 2),
    ("peak MB", "list_whole", "rss_peak_mb", 0),
    ("list ConfigMaps: CPU s", "list_models", "cpu_seconds", 2),
    ("creates/s", "create", "per_second", 0),
    ("CPU ms", "create", "cpu_ms_each", 2),
    ("applies/s", "apply", "per_second", 0),
    ("CPU ms", "apply", "cpu_ms_each", 2),
    ("patches/s", "patch", "per_second", 0),
    ("CPU ms", "patch", "cpu_ms_each", 2),
    ("watch events/s", "watch", "per_second", 0),
    ("CPU ms", "watch", "cpu_ms_each", 3),
)


def markdown(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """One line a client; '–' where it was not measured."""
    lines = [["client", *(title for title, *_ in COLUMNS)], ["---", *("---:" for _ in COLUMNS)]]
    for name, steps in figures.items():
        cells = [f"{steps[step][key]:.{digits}f}" if step in steps else "–" for _, step, key, digits in COLUMNS]
        lines.append([name, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
