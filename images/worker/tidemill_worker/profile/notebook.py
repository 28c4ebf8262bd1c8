"""The notebook beside the rows: the same for every version, since it learns from the profile what there is to draw."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any


def notebook() -> str:
    """`explore.ipynb`: nbformat 4.5 without outputs, each cell's id its place. It is templates/explore.py, cut at `# %%`."""
    source = files("tidemill_worker.profile").joinpath("templates/explore.py").read_text()
    heads = re.findall(r"^# %%(.*)$", source, flags=re.MULTILINE)
    bodies = re.split(r"^# %%.*\n", source, flags=re.MULTILINE)[1:]
    return json.dumps(
        {
            "cells": [_cell(place, *cell) for place, cell in enumerate(zip(heads, bodies, strict=True))],
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        },
        indent=1,
        ensure_ascii=False,
    )


def _cell(place: int, head: str, body: str) -> dict[str, Any]:
    """A cell; the parameters have the tag that papermill looks for."""
    title = head.strip()
    text = body.strip("\n")
    shared = {"id": f"cell-{place:02}", "metadata": {"tags": ["parameters"]} if title == "parameters" else {}}
    if title == "[markdown]":
        plain = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        return {"cell_type": "markdown", **shared, "source": plain.splitlines(keepends=True)}
    text = f"# {title}\n{text}" if title else text
    return {
        "cell_type": "code", **shared, "execution_count": None, "outputs": [], "source": text.splitlines(keepends=True),
    }  # fmt: skip
