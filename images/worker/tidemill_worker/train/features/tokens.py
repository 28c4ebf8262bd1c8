"""Texts as units: words or characters, as ONNX Runtime's Tokenizer makes them, then as numbers of the units that are known.

A unit's other spellings (Late, LATE) are looked up like itself. ONNX's StringNormalizer could lower the case instead, but only
by a locale of the server's operating system, and servers differ in what they have.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from tidemill.contract.features import EmbedText
from tidemill_worker.train.graph import Graph

WORD = r"[\p{L}\p{M}\p{N}]+"
"""Letters, marks that belong to them, and digits; RE2's syntax. Letters that are newer than Python's Unicode (14, of 2021)
end a word in Python only."""


def units(text: str, spec: EmbedText) -> Sequence[str]:
    """The words or characters of a text, as they are spelled."""
    return text if spec.unit == "Character" else _word().findall(text)


def normal(unit: str, spec: EmbedText) -> str:
    """The spelling that stands for all others of a unit. A character stays one character (İ has two in lower case)."""
    lower = unit.lower() if spec.lowercase else unit
    return unit if spec.unit == "Character" and len(lower) != 1 else lower


def spellings(known: Iterable[str], seen: Mapping[str, str], spec: EmbedText) -> dict[str, str]:
    """The normal spelling of each way to write the known units: in lower case, capitals, Title, and as it was seen."""
    wanted = set(known)
    forms = {form for unit in wanted for form in (unit, unit.upper(), unit.capitalize(), unit.title())}
    found = {**{form: normal(form, spec) for form in forms}, **seen}
    return {form: found[form] for form in sorted(found) if found[form] in wanted}


def terms(found: Sequence[str], spec: EmbedText) -> list[str]:
    """All sequences of one to `maxNgram` units, each as often as it is there: characters side by side, words with spaces."""
    between = "" if spec.unit == "Character" else " "
    out = list(found)
    for size in range(2, spec.max_ngram + 1):
        out += [between.join(found[i : i + size]) for i in range(len(found) - size + 1)]
    return out


def split(term: str, spec: EmbedText) -> list[str]:
    """The units of a term."""
    return list(term) if spec.unit == "Character" else term.split(" ")


def emit(graph: Graph, column: str, prefix: str, spec: EmbedText, numbers: Mapping[str, int]) -> str:
    """The numbers of a text column's units, int64 [batch, most units of a row]; 0 for unknown ones and after the last."""
    flat = graph.constant(f"{prefix}/rows", np.array([-1], np.int64))
    text = graph.add("Reshape", [column, flat], f"{prefix}/text")
    how: dict[str, Any] = {"separators": [""]} if spec.unit == "Character" else {"tokenexp": WORD}
    units = graph.add_ort(
        "Tokenizer", [text], f"{prefix}/units", gives=TensorProto.STRING, mark=0, mincharnum=1, pad_value="", **how
    )
    return graph.add(
        "LabelEncoder",
        [units],
        f"{prefix}/numbers",
        domain="ai.onnx.ml",
        keys_strings=list(numbers),
        values_int64s=list(numbers.values()),
        default_int64=0,
    )


@functools.cache
def _word() -> re.Pattern[str]:
    """A character class of Unicode's categories L, M and N, which Python's own syntax cannot name."""
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code))[0] in "LMN":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return re.compile("[" + "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in ranges) + "]+")
