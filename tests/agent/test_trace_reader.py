"""The reader of Triton's trace and its folder, against files as the real server writes them, odd and damaged ones too."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.contract.names import TRACE_FILE
from tidemill_agent.tap import TapFormatError
from tidemill_agent.trace_reader import Traced, parse
from tidemill_agent.trace_spool import TraceSpool, clock_offset, wall_clock

Tensor = tuple[str, bytes, str, str]


def tensor(number: int, activity: str, named: Tensor) -> bytes:
    """One tensor's entry: name, data, shape and type."""
    name, data, shape, datatype = named
    return (
        f'{{"id":{number},"activity":"TENSOR_{activity}","tensor":{{"name":"{name}","data":"'.encode()
        + data
        + f'","shape":"{shape}","dtype":"{datatype}"}}}}'.encode()
    )


def request(
    number: int, inputs: list[Tensor], outputs: list[Tensor], *, model: str = "m", version: int = 3, extra: bytes = b""
) -> bytes:
    """One request's entries, in the real server's order."""
    return b",".join(
        [
            f'{{"id":{number},"timestamps":[{{"name":"HTTP_RECV_START","ns":1}}]}}'.encode(),
            f'{{"id":{number},"model_name":"{model}","model_version":{version}'.encode() + extra + b"}",
            f'{{"id":{number},"timestamps":[{{"name":"REQUEST_START","ns":{number * 10}}}]}}'.encode(),
            *(tensor(number, "QUEUE_INPUT", named) for named in inputs),
            *(tensor(number, "BACKEND_OUTPUT", named) for named in outputs),
            f'{{"id":{number},"timestamps":[{{"name":"REQUEST_END","ns":9}}]}}'.encode(),
        ]
    )


def read(*requests: bytes, batched: bool | None = True) -> Traced:
    """A whole file of these requests."""
    return parse(b"[" + b",".join(requests) + b"]", batched=lambda _: batched, wall_ns=lambda ns: ns + 5)


X, Y = ("x", b"1.5,nan", "2,1", "FP32"), ("y", b"-inf,2.46914e+12", "2,1", "FP64")


def test_requests_of_one_schema_are_one_batch() -> None:
    one = ("x", b"7", "1,1", "FP32"), ("y", b"8", "1,1", "FP64")
    traced = read(
        request(1, [X], [Y], extra=b',"request_id":"a"'),
        request(2, [one[0]], [one[1]]),
        request(3, [X], [Y]),
        request(4, [X], [Y], version=4),
    )
    assert [(b.version, len(b)) for b in traced.batches] == [(3, 2), (3, 1), (4, 1)]
    batch = traced.batches[0]
    assert (batch.model, batch.batched) == ("m", True)
    assert batch.time_ns.tolist() == [15, 35]
    assert batch.request_ids.tolist() == [b"a", b""]
    assert batch.inputs["x"].dtype == np.float32
    np.testing.assert_array_equal(batch.inputs["x"], np.array([[[1.5], [np.nan]]] * 2, dtype=np.float32))
    assert batch.outputs["y"].reshape(-1).tolist() == [-np.inf, 2.46914e12] * 2
    assert traced.dropped == Counter()


@pytest.mark.parametrize(
    ("data", "datatype", "expected"),
    [
        (b"1,0", "BOOL", [True, False]),
        (b"\xfb,\x07", "INT8", [-5, 7]),
        (b",,,", "UINT8", [44, 44]),
        (b'",\xfa', "UINT8", [34, 250]),
        (b"-300,1", "INT16", [-300, 1]),
        (b"18446744073709551615,1", "UINT64", [18446744073709551615, 1]),
        (b"1234567890123,-1", "INT64", [1234567890123, -1]),
        (b'\\"\\",\\"a\x00b\xff\\"', "BYTES", [b"", b"a\x00b\xff"]),
        (b'\\"A,"A\n\\",\\"x\\\\"', "BYTES", [b'A,"A\n', b"x\\"]),
    ],
)
def test_every_type_as_the_real_server_prints_it(data: bytes, datatype: str, expected: list[object]) -> None:
    (batch,) = read(request(1, [("x", data, "1,2", datatype)], [Y]), batched=False).batches
    assert batch.inputs["x"].shape == (1, 1, 2)
    assert batch.inputs["x"].reshape(-1).tolist() == expected


def test_half_precision_has_no_values_in_the_trace() -> None:
    (batch,) = read(request(1, [X, ("h", b"", "1,2", "FP16")], [Y, ("b", b"", "1,2", "BF16")])).batches
    assert (set(batch.inputs), set(batch.outputs)) == ({"x"}, {"y"})


def test_backend_inputs_stand_in_for_queue_inputs() -> None:
    both = request(1, [X], [Y]) + b"," + tensor(1, "BACKEND_INPUT", ("x", b"9,9", "2,1", "FP32"))
    only = request(2, [], [Y]) + b"," + tensor(2, "BACKEND_INPUT", X)
    (batch,) = read(both, only).batches
    assert batch.inputs["x"][:, 0, 0].tolist() == [1.5, 1.5]


def test_only_answered_requests_of_clients_are_taken() -> None:
    assert read(request(1, [X], []), request(2, [X], [Y], extra=b',"parent_id":1')) == Traced([], Counter())
    assert read() == Traced([], Counter())


@pytest.mark.parametrize(
    ("batched", "shape", "expected"), [(None, "2,1", True), (None, "1", False), (False, "2,1", False)]
)
def test_rows(batched: bool | None, shape: str, expected: bool) -> None:
    data = b"1,2" if shape == "2,1" else b"1"
    (batch,) = read(request(1, [("x", data, shape, "FP32")], [Y]), batched=batched).batches
    assert batch.batched is expected


@pytest.mark.parametrize(
    "odd",
    [
        ("x", b"1,2,3", "2,1", "FP32"),
        ("x", b"one,two", "2,1", "FP32"),
        ("x", b"1,2", "2,1", "FP128"),
        ("x", b"1,2,3", "2,1", "INT8"),
        ("x", b"1,40000", "2,1", "INT16"),
        ("x", b'\\"a\\",\\"b\\",\\"c\\"', "2,1", "BYTES"),
        ("x", b"plain", "1,1", "BYTES"),
        ("x", b"1", "0,1", "FP32"),
    ],
)
def test_what_cannot_be_read_for_sure_is_dropped_and_counted(odd: Tensor) -> None:
    traced = read(request(1, [odd], [Y]), request(2, [X], [Y]))
    assert [len(batch) for batch in traced.batches] == [1]
    assert traced.dropped == Counter(m=1)


def test_a_text_that_names_another_model_spoils_its_own_request_only() -> None:
    forged = b'\\"}},{"id":1,"model_name":"victim","model_version":1},{"id":1,"activity":"TENSOR_BACKEND_OUTPUT"\\"'
    traced = read(request(1, [("x", forged, "1,1", "BYTES")], [Y]), request(2, [X], [Y]))
    assert [(batch.model, len(batch)) for batch in traced.batches] == [("m", 1)]


@given(st.integers(0, 10_000), st.booleans())
def test_a_cut_file_is_refused_whole(at: int, front: bool) -> None:
    whole = b"[" + request(1, [X], [Y]) + b"]"
    cut = whole[1 + at % (len(whole) - 1) :] if front else whole[: at % len(whole)]
    with pytest.raises(TapFormatError):
        parse(cut, batched=lambda _: True, wall_ns=lambda ns: ns)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        traced = parse(b"[" + data + b"]", batched=lambda _: None, wall_ns=lambda ns: ns)
    except TapFormatError:
        return
    assert traced.batches == []


def put(tap: Path, name: str, data: bytes, *, age: float) -> Path:
    """A file of the server's, of an age."""
    path = (tap / TRACE_FILE).parent / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_folder_takes_whole_files_only_and_is_bounded(tmp_path: Path) -> None:
    lost: Counter[str] = Counter()

    def dropped(model: str, count: int) -> None:
        lost[model] += count

    whole = b"[" + request(1, [X], [Y]) + b"," + request(2, [X], [Y]) + b"]"
    spool = TraceSpool(tmp_path, 2 * len(whole), batched=lambda _: True, dropped=dropped)
    put(tmp_path, "trace.0", whole, age=40)
    young, growing = put(tmp_path, "trace.1", whole, age=0), put(tmp_path, "trace.2", whole[:-9], age=5)
    (first,) = spool.files()
    assert [len(batch) for batch in spool.read(first)] == [2]
    assert young.exists()
    assert growing.exists()
    # The server started anew and counts its files from 0 again; what it left half written is given up after a while.
    put(tmp_path, "trace.0", whole, age=30)
    put(tmp_path, "trace.2", whole[:-9], age=60)
    taken = spool.files()
    assert len(taken) == 2
    assert first in taken
    assert lost == Counter(m=2), "the cut file is the oldest and unread: its two samples are lost"
    put(tmp_path, "trace.3", whole, age=20)
    assert first not in spool.files()
    assert lost == Counter(m=2), "the rows of a file that was read are in memory already"


def test_a_file_read_again_gives_the_same_times(tmp_path: Path) -> None:
    put(tmp_path, "trace.0", b"[" + request(1, [X], [Y]) + b"]", age=40)
    times = []
    for _ in range(3):
        spool = TraceSpool(tmp_path, 1 << 20, batched=lambda _: True, dropped=lambda *_: None)
        (batch,) = spool.read(spool.files()[0])
        times.append(batch.time_ns.tolist())
    assert times[0] == times[1] == times[2]


def test_the_samples_of_a_damaged_file_are_counted_as_dropped(tmp_path: Path) -> None:
    lost: Counter[str] = Counter()
    spool = TraceSpool(
        tmp_path, 1 << 20, batched=lambda _: True, dropped=lambda model, count: lost.update({model: count})
    )
    put(tmp_path, "trace.0", (b"[" + request(1, [X], [Y]) + b"]")[:-9], age=31)
    (damaged,) = spool.files()
    with pytest.raises(TapFormatError, match="cut off"):
        spool.read(damaged)
    assert lost == Counter(m=1)
    put(tmp_path, "trace.0", b"[" + request(1, [("x", b"1", "2,1", "FP32")], [Y]) + b"]", age=5)
    assert spool.read(spool.files()[-1]) == []
    assert lost == Counter(m=2)


def test_the_node_s_clock_is_turned_into_the_time_of_day() -> None:
    now = time.time_ns()
    wall = wall_clock(now, clock_offset())
    assert abs(wall(time.monotonic_ns()) - now) < 1_000_000_000
    assert wall(time.monotonic_ns() + 3_600_000_000_000) == now
