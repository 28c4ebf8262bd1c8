"""Protobuf text format, as far as Triton's config.pbtxt needs it: writing messages, and dropping fields of a user's text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tidemill_agent.errors import LoadError

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<open>[{<\[])|(?P<close>[}>\]])"""
    r"""|(?P<word>[A-Za-z0-9_.+-]+)|(?P<mark>[:,;])""",
    re.VERBOSE,
)


class Word(str):
    """A value that is written without quotes: an enum's name."""


def dumps(message: Mapping[str, Any], indent: int = 0) -> str:
    """A message; a list is a repeated field, a mapping a nested message."""
    lines: list[str] = []
    for key, value in message.items():
        scalars = isinstance(value, Sequence) and not isinstance(value, str) and all(_scalar(v) for v in value)
        if scalars:
            lines.append(f"{'  ' * indent}{key}: [{', '.join(_literal(v) for v in value)}]\n")
            continue
        for item in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
            if isinstance(item, Mapping):
                lines.append(f"{'  ' * indent}{key} {{\n{dumps(item, indent + 1)}{'  ' * indent}}}\n")
            else:
                lines.append(f"{'  ' * indent}{key}: {_literal(item)}\n")
    return "".join(lines)


def _scalar(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def _literal(value: object) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_escape(byte) for byte in value.encode()) + '"'
    return repr(value)


def _escape(byte: int) -> str:
    if byte in (0x22, 0x5C):
        return "\\" + chr(byte)
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def without_fields(text: str, fields: Collection[str]) -> str:
    """The text without some of its top-level fields. Raises LoadError when it is not protobuf text."""
    kept: list[str] = []
    position, depth = 0, 0
    start: int | None = None
    dropping = ended = False
    for kind, begin, end in _tokens(text):
        if kind == "space":
            continue
        begins_field = depth == 0 and kind == "word" and (start is None or ended)
        if begins_field:
            if start is not None and not dropping:
                kept.append(text[start:position])
            start, dropping, ended = begin, text[begin:end] in fields, False
        elif depth == 0 and kind in ("word", "string"):
            ended = True
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
            ended = depth == 0
        if start is None or depth < 0:
            raise LoadError(f"config.pbtxt is not protobuf text at {text[begin : begin + 20]!r}")
        position = end
    if depth:
        raise LoadError("config.pbtxt is not protobuf text: a bracket is not closed")
    if start is not None and not dropping:
        kept.append(text[start:position])
    return "".join(f"{field}\n" for field in kept)


def _tokens(text: str) -> list[tuple[str, int, int]]:
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise LoadError(f"config.pbtxt is not protobuf text at {text[position : position + 20]!r}")
        found.append((str(match.lastgroup), match.start(), match.end()))
        position = match.end()
    return found
