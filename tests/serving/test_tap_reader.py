"""The reader of tap segments, against segments written here from the format's description alone."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill_agent.tap import TapFormatError, iter_records, read_batches, segments

HEADER = struct.pack("<8sHHIQQ8x", b"TIDETAP\0", 1, 40, 7, 0, 1)


def padded(data: bytes) -> bytes:
    """Zeros up to a multiple of eight."""
    return data + bytes(-len(data) % 8)


def text(value: str) -> bytes:
    """A length and UTF-8."""
    return struct.pack("<H", len(value.encode())) + value.encode()


def frame(kind: int, schema_id: int, body: bytes) -> bytes:
    """One frame."""
    return struct.pack("<IIQ", kind, schema_id, len(body)) + padded(body)


def schema(
    model: str, version: int, tensors: list[tuple[int, int, str, tuple[int, ...]]], *, batched: bool = True
) -> bytes:
    """A schema's body; a tensor is role, data type, name and shape."""
    body = struct.pack("<QHB", version, len(tensors), int(batched)) + text(model)
    for role, datatype, name, shape in tensors:
        body += struct.pack("<BBB", role, datatype, len(shape)) + text(name) + struct.pack(f"<{len(shape)}q", *shape)
    return body


def items(values: list[bytes]) -> bytes:
    """Strings: lengths, then bytes."""
    return padded(struct.pack(f"<{len(values)}I", *map(len, values))) + padded(b"".join(values))


def block(ids: list[bytes], columns: list[bytes]) -> bytes:
    """A block's body with the times 0, 1, 2 …"""
    times = struct.pack(f"<{len(ids)}Q", *range(len(ids)))
    return struct.pack("<II", len(ids), 0) + times + items(ids) + b"".join(columns)


SCHEMA = schema("m", 3, [(0, 11, "x", (1, 2)), (0, 13, "s", (1,)), (1, 14, "y", (1, 1))])


def body(rows: int, words: list[bytes] | None = None) -> bytes:
    """A block of SCHEMA."""
    x = np.arange(rows * 2, dtype="<f4").tobytes()
    y = (np.arange(rows, dtype="<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return block(
        [b"%d" % row for row in range(rows)],
        [padded(x), items(words or [b"w%d" % row for row in range(rows)]), padded(y)],
    )


def write(folder: Path, *frames: bytes) -> Path:
    """A segment file."""
    path = folder / "1-0.tap"
    path.write_bytes(HEADER + b"".join(frames))
    return path


def test_blocks_of_a_schema_are_joined(tmp_path: Path) -> None:
    other = schema("n", 1, [(0, 9, "i", ())], batched=False)
    numbers = block([b"", b""], [np.array([5, -6], dtype="<i8").tobytes()])
    path = write(
        tmp_path,
        frame(1, 0, SCHEMA),
        frame(2, 0, body(3)),
        frame(1, 1, other),
        frame(2, 1, numbers),
        frame(2, 0, body(2)),
    )
    first, second = read_batches(path)
    assert (first.model, first.version, first.batched, len(first)) == ("m", 3, True, 5)
    assert first.inputs["x"].tolist() == [[[0, 1]], [[2, 3]], [[4, 5]], [[0, 1]], [[2, 3]]]
    assert first.rows(first.inputs["x"]).shape == (5, 2)
    assert first.inputs["s"].tolist() == [[b"w0"], [b"w1"], [b"w2"], [b"w0"], [b"w1"]]
    assert first.outputs["y"].ravel().tolist() == [0, 1, 2, 0, 1]
    assert first.request_ids.tolist() == [b"0", b"1", b"2", b"0", b"1"]
    assert (second.model, second.batched, second.inputs["i"].tolist()) == ("n", False, [5, -6])
    assert second.rows(second.inputs["i"]) is second.inputs["i"]
    records = list(iter_records(path))
    assert [(record.model, record.request_id) for record in records[2:4]] == [("m", "2"), ("n", "")]


def test_a_cut_end_hides_nothing_before_it(tmp_path: Path) -> None:
    frames = [frame(1, 0, SCHEMA), frame(2, 0, body(3)), frame(2, 0, body(4))]
    whole = HEADER + b"".join(frames)
    last = len(whole) - len(frames[2])
    path = tmp_path / "1-0.tap"
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        expected = 7 if length == len(whole) else 3 if length >= last else 0
        assert sum(map(len, read_batches(path))) == expected


def test_unknown_frames_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, frame(9, 0, b"later"), frame(1, 0, SCHEMA), frame(9, 4, b""), frame(2, 0, body(1)))
    assert sum(map(len, read_batches(path))) == 1


DAMAGED: list[tuple[str, bytes]] = [
    ("not a tap segment", b"PAR1" + bytes(60)),
    ("version 2", HEADER.replace(b"\x01\x00\x28", b"\x02\x00\x28")),
    ("damaged", HEADER + frame(2, 5, body(1))),
    ("damaged", HEADER + frame(1, 0, SCHEMA) + frame(2, 0, body(3)[:40])),
    ("damaged", HEADER + frame(1, 0, SCHEMA[:-4]) + frame(2, 0, body(1))),
    ("damaged", HEADER + frame(1, 0, SCHEMA) + frame(2, 0, b"\xff\xff\xff\xff" + body(1)[4:])),
]


@pytest.mark.parametrize(("words", "data"), DAMAGED)
def test_a_damaged_file_is_named(tmp_path: Path, words: str, data: bytes) -> None:
    path = tmp_path / "1-0.tap"
    path.write_bytes(data)
    with pytest.raises(TapFormatError, match=words) as caught:
        read_batches(path)
    assert str(path) in str(caught.value)


@settings(deadline=None, max_examples=60)
@given(words=st.lists(st.binary(max_size=40), min_size=1, max_size=30))
def test_strings_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, words: list[bytes]) -> None:
    path = write(tmp_path_factory.mktemp("tap"), frame(1, 0, SCHEMA), frame(2, 0, body(len(words), words)))
    (batch,) = read_batches(path)
    assert batch.inputs["s"].ravel().tolist() == words


def test_one_long_string_does_not_widen_the_others(tmp_path: Path) -> None:
    words = [b"a"] * 5000 + [b"x" * 60_000]
    path = write(tmp_path, frame(1, 0, SCHEMA), frame(2, 0, body(len(words), words)))
    (batch,) = read_batches(path)
    column: Any = batch.inputs["s"]
    assert column.dtype == object
    assert column.ravel().tolist() == words


def test_only_complete_segments_are_listed_oldest_first(tmp_path: Path) -> None:
    folder = tmp_path / "segments"
    folder.mkdir()
    for number, name in enumerate(["7-00000001.tap", "7-00000000.tap", "7-00000002.tap.part", "notes"]):
        (folder / name).write_bytes(HEADER)
        os.utime(folder / name, ns=(number, number))
    assert [path.name for path in segments(tmp_path)] == ["7-00000001.tap", "7-00000000.tap"]
