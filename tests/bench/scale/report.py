"""Writes the tables of docs/performance.md and docs/operations.md between their markers, and the chart, from a run's JSON.

Nothing is typed by hand. `python -m tests.bench.scale.report FOLDER`: FOLDER is that of `hack/bench scale.run --out`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.scale.chart import draw
from tests.bench.scale.summary import FIGURES, Figure, summarise
from tests.e2e.apiserver import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
GUIDE = ROOT / "docs" / "operations.md"
CHART = ROOT / "docs" / "images" / "performance-scale.png"
Result = Mapping[str, Any]


def between(text: str, name: str, content: str) -> str:
    """The text with what stands between a pair of markers replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"there must be one pair of markers {begin} and {end}")
    return pattern.sub(lambda _: f"{begin}\n{content.strip()}\n{end}", text)


def machine_text(results: Sequence[Result]) -> str:
    """Where and when it was measured."""
    first = results[0]["machine"]
    kubernetes = next(r[part]["kubernetes"] for r in results for part in ("mixed", "burst") if part in r)
    loads = ", ".join(f"{r['machine']['loadBefore'][0]:g} before {r['size']:,}" for r in results)
    commits = ", ".join(sorted({r["commit"] for r in results}))
    return (
        f"Measured on {first['cores']} cores of {first['cpu']}, {first['memoryGiB']:g} GiB, Linux {first['kernel']}, Python "
        f"{first['python']}, Kubernetes {kubernetes} with etcd on the same machine; commit {commits}, "
        f"{results[0]['at'][:10]}; the operator ran with {first['operatorLibraries']} libraries. Load average: {loads}."
        f"{_spans(results)}"
    )


def _spans(results: Sequence[Result]) -> str:
    """For how long specs were changed and nothing was: a short run must say so."""
    found = {(round(m["churn"]["seconds"]), round(m["idle"]["seconds"])) for r in results if (m := r.get("mixed"))}
    return "".join(f" Changed for {churn} s, left alone for {idle} s." for churn, idle in sorted(found))


def mix_text(results: Sequence[Result]) -> str:
    """What each size is made of."""
    kinds = list(results[-1]["mixed"]["mix"])
    rows = [[f"{r['size']:,}", *(f"{r['mixed']['mix'][kind]:,}" for kind in kinds), _children(r)] for r in results]
    return table(["resources", *kinds, "children beside them"], rows)


def figures_text(summary: Mapping[str, Any]) -> str:
    """All figures: one row each, a column for each size, what misses its bar in bold."""
    by_title = {figure.title: figure for figure in FIGURES}
    rows = []
    for row in summary["rows"]:
        cells = [_cell(value, row["kept"].get(size)) for size, value in row["values"].items()]
        growth = row.get("exponent")
        rows.append([row["figure"], *cells, _bar(by_title[row["figure"]]), "" if growth is None else f"n^{growth:.2f}"])
    return table(["", *(f"{size:,}" for size in summary["sizes"]), "bar", "growth"], rows)


def shares_text(results: Sequence[Result]) -> str:
    """Who used the CPU while a size was filled."""
    rows = []
    for result in results:
        fill = result["mixed"]["fill"]
        used = {"operator": fill["operatorCpuSeconds"], **fill["othersCpuSeconds"]}
        total = sum(used.values())
        rows.append([f"{result['size']:,}", *(f"{share / total:.0%}" for share in used.values())])
    names = ["operator", *results[0]["mixed"]["fill"]["othersCpuSeconds"]]
    return table(["resources", *names], rows)


def calls_text(results: Sequence[Result]) -> str:
    """API calls for each object of the mix: by verb as the operator counts them, and one by one as the audit log has them."""
    rows = []
    for result in results:
        fill = result["mixed"]["fill"]
        own = ", ".join(f"{verb} {n / fill['objects']:.2f}" for verb, n in fill["apiCalls"].items() if n)
        audited = ", ".join(f"{call} {n / fill['objects']:.2f}" for call, n in fill["auditedByCall"].items())
        rows.append([f"{result['size']:,}", own, audited])
    return table(["resources", "the operator's metrics", "the audit log"], rows)


def sizing_text(results: Sequence[Result]) -> str:
    """What an operator of each size needs."""
    rows = []
    for result in results:
        mixed = result["mixed"]
        idle, restart = mixed["idle"], mixed["restart"]
        rows.append(
            [
                f"{result['size']:,}",
                f"{sum(mixed['objects'].values()) - sum(mixed['mix'].values()):,}",
                f"{idle['memory']['rssMb']:.0f} MB",
                f"{max(idle['memory']['peakMb'], restart['memory']['peakMb']):.0f} MB",
                f"{idle['cpuPercent']:.1f} %",
                f"{restart['firstPassSeconds']:.1f} s",
            ]
        )
    head = [
        "resources",
        "children",
        "memory, at rest",
        "memory, peak",
        "CPU at rest, of a core",
        "start to first full pass",
    ]
    return table(head, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns after the first to the right."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(folder: Path, document: Path = DOCUMENT, guide: Path = GUIDE, chart: Path = CHART) -> None:
    """Regenerate the documents and the chart."""
    files = sorted(folder.glob("size-*.json"), key=lambda file: int(file.stem.partition("-")[2]))
    if not files:
        raise FileNotFoundError(f"{folder} has no size-*.json: run hack/bench scale.run --out {folder}")
    results = [json.loads(file.read_text()) for file in files]
    summary = summarise(results)
    complete = [result for result in results if "mixed" in result]
    text = document.read_text()
    for name, content in (
        ("machine", machine_text(results)),
        ("mix", mix_text(complete)),
        ("figures", figures_text(summary)),
        ("shares", shares_text(complete)),
        ("calls", calls_text(complete)),
    ):
        text = between(text, f"scale {name}", content)
    document.write_text(text)
    guide.write_text(between(guide.read_text(), "scale sizing", sizing_text(complete)))
    draw(summary, chart)


def _children(result: Result) -> str:
    ours = result["mixed"]["mix"].keys()
    found = {kind: count for kind, count in result["mixed"]["objects"].items() if kind not in ours and count}
    return f"{sum(found.values()):,}: " + ", ".join(f"{count:,} {kind}" for kind, count in found.items())


def _cell(value: float | None, kept: bool | None) -> str:
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"**{text}**" if kept is False else text


def _bar(figure: Figure) -> str:
    sign = "≥" if figure.at_least else "≤"
    return "; ".join(f"{sign} {bar:g}{f' at {size:,}' if size else ''}" for size, bar in figure.bars.items())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="results of hack/bench scale.run")
    write(parser.parse_args().folder)
