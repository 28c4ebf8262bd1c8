"""The lines of a run as Markdown tables. `hack/bench peers.table FOLDER/peers.jsonl [--write]`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.scale.report import DOCUMENT, between, table

NAME = "peers"
SYSTEM = ("etcd", "kube-apiserver", "kube-controller-manager")
Line = Mapping[str, Any]


def read(path: Path) -> list[Line]:
    """The lines of a file; of several for the same contender the last."""
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    return list({line["contender"]: line for line in lines}.values())


def tables(lines: Sequence[Line]) -> str:
    """All tables, and what they were measured on."""
    parts = [
        _conditions(lines),
        table(
            ("contender", "what", "objects", "created s", "children s (per s)", "statuses s", "settled s"),
            [_speed(line) for line in lines],
        ),
        table(
            (
                "contender",
                "API calls/object",
                "what",
                "CPU ms/object: controllers",
                "API server",
                "RSS MB before → after (max)",
            ),
            [_cost(line) for line in lines],
        ),
        table(
            (
                "contender",
                "change → child p50 / p99 ms",
                "change → status p50 / p99 ms",
                "restart → ready s",
                "first pass s",
                "writes at restart",
                "idle s",
                "writes when idle",
                "idle CPU s",
            ),
            [_calm(line) for line in lines],
        ),
    ]  # fmt: skip
    return "\n\n".join(parts)


def _conditions(lines: Sequence[Line]) -> str:
    machine = lines[0]["machine"]
    versions = {name: version for line in lines for name, version in line["versions"].items()}
    loads = [load[0] for line in lines for load in (line["machine"]["loadBefore"], line["loadAfter"])]
    minutes = ", ".join(f"{line['contender']} {line['seconds'] / 60:.0f}" for line in lines)
    unsettled = [f"{line['contender']} ({', '.join(line['unsettled'])})" for line in lines if line["unsettled"]]
    refused = [f"{line['contender']} {line['refused']}" for line in lines if line.get("refused")]
    text = (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memoryGiB']:g} GiB, Linux {machine['kernel']}, Python "
        f"{machine['python']}. {', '.join(f'{name} {version}' for name, version in versions.items())}. Load average "
        f"{min(loads)} to {max(loads)}. Minutes: {minutes}."
    )
    if unsettled:
        text += f" Not settled within the limit: {'; '.join(unsettled)}."
    if refused:
        text += f" Refused: {'; '.join(refused)}."
    return text


def _speed(line: Line) -> Sequence[str]:
    made = line["create"]
    children = f"{_shown(made['children_s'])} ({_shown(made['children_per_s'])})"
    if made["children"] < line["objects"]:
        children += f", only {made['children']}"
    statuses = _shown(made["statuses_s"])
    if made["statuses"] < line["objects"]:
        statuses += f", only {made['statuses']}"
    return (
        line["contender"],
        line["what"],
        str(line["objects"]),
        _shown(made["created_s"]),
        children,
        statuses,
        _shown(made["settled_s"]),
    )


def _cost(line: Line) -> Sequence[str]:
    count = line["objects"]
    calls: dict[str, float] = {}
    for counted in line["calls"].values():
        for call, number in counted.items():
            calls[call] = calls.get(call, 0) + number / count
    what = ", ".join(
        f"{_short(call)} {_shown(n)}" for call, n in sorted(calls.items(), key=lambda c: -c[1]) if n >= 0.05
    )
    controllers = [name for name in line["rss_mb"] if name not in SYSTEM]
    several = len(controllers) > 1

    def each(texts: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {text}" if several else text for name, text in texts.items())

    cpu = {name: f"{line['cpu_s'][name] * 1000 / count:.1f}" for name in controllers}
    memory = {
        name: f"{rss['before']:.0f} → {rss['after']:.0f} ({rss['max']:.0f})"
        for name, rss in line["rss_mb"].items()
        if name in controllers
    }
    server = f"{line['cpu_s']['kube-apiserver'] * 1000 / count:.1f}"
    return line["contender"], _shown(sum(calls.values())), what, each(cpu), server, each(memory)


def _calm(line: Line) -> Sequence[str]:
    change, restart, idle = line["change"], line["restart"], line["idle"]
    writes: dict[str, int] = {}
    for counted in idle["writes"].values():
        writes |= counted
    controllers = [name for name in line["rss_mb"] if name not in SYSTEM]
    return (
        line["contender"],
        _latency(change["child_ms"], change["changes"]),
        _latency(change["status_ms"], change["changes"]),
        _shown(restart["ready_s"]),
        _shown(restart["first_pass_s"]),
        _counts(restart["writes"]),
        f"{idle['seconds']:.0f}",
        _counts(writes),
        _shown(sum(idle["cpu_s"][name] for name in controllers)),
    )


def _latency(found: Mapping[str, Any], changes: int) -> str:
    text = f"{_shown(found.get('p50Ms'))} / {_shown(found.get('p99Ms'))}"
    return text if found["count"] == changes else f"{text} ({found['count']} of {changes})"


def _counts(calls: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {_short(call)}" for call, number in calls.items()) or "0"


def _short(call: str) -> str:
    """Without the API group."""
    resource, _, subresource = call.partition("/")
    return f"{resource.partition('.')[0]}/{subresource}" if subresource else resource.partition(".")[0]


def _shown(value: float | None) -> str:
    """Three digits or so."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", type=Path, help="peers.jsonl of a run")
    parser.add_argument(
        "--write", action="store_true", help=f"put the tables into {DOCUMENT.name}, not on standard output"
    )
    given = parser.parse_args()
    text = tables(read(given.lines))
    if given.write:
        DOCUMENT.write_text(between(DOCUMENT.read_text(), NAME, text))
    else:
        print(text)


if __name__ == "__main__":
    main()
