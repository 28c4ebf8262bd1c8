"""A linear model by gradient descent, with everything that Tidemill's contract offers: docs/own-code.md.

It needs NumPy, PyArrow and ONNX, which Tidemill's trainer image has.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper

INPUT, OUTPUT, CHECKPOINT = (Path(os.environ[f"TIDEMILL_{name}"]) for name in ("INPUT", "OUTPUT", "CHECKPOINT"))
TARGET = os.environ["TIDEMILL_TARGET"]
PARAMETERS = {"epochs": 200, "learningRate": 0.1, **json.loads(os.environ["TIDEMILL_PARAMETERS"])}


def read(split: str, columns: list[str] | None = None) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The numeric columns, their values, and the target. Missing values are NaN."""
    table = pq.read_table(INPUT / f"{split}.parquet")
    if columns is None:
        numbers = [f.name for f in table.schema if str(f.type).startswith(("int", "double", "float"))]
        columns = [name for name in numbers if name != TARGET and not name.startswith("_tidemill_")]
    values = [table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in (*columns, TARGET)]
    return columns, np.stack(values[:-1], axis=1), values[-1]


def save(epoch: int, weights: np.ndarray) -> None:
    """Under another name first: a file that ends in .tmp is never taken for a checkpoint."""
    with (CHECKPOINT / "state.tmp").open("wb") as file:
        np.savez(file, epoch=epoch, weights=weights)
    (CHECKPOINT / "state.tmp").rename(CHECKPOINT / "state.npz")


def mean_squared_error(weights: np.ndarray, features: np.ndarray, target: np.ndarray) -> float:
    return float(np.mean((features @ weights - target) ** 2))


def main() -> None:
    columns, x, y = read("train")
    _, x_validation, y_validation = read("validation", columns)
    mean, scale = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    scale[scale == 0] = 1

    def features(raw: np.ndarray) -> np.ndarray:
        return np.hstack([(np.where(np.isnan(raw), mean, raw) - mean) / scale, np.ones((len(raw), 1))])

    train, validation = features(x), features(x_validation)
    epoch, weights = 0, np.zeros(train.shape[1])
    if (CHECKPOINT / "state.npz").exists():
        state = np.load(CHECKPOINT / "state.npz")
        epoch, weights = int(state["epoch"]), state["weights"]
        print(f"resumed after epoch {epoch}")

    with (OUTPUT / "metrics.jsonl").open("a") as metrics:
        while epoch < PARAMETERS["epochs"]:
            epoch += 1
            weights -= PARAMETERS["learningRate"] * train.T @ (train @ weights - y) / len(y)
            losses = {
                "loss": mean_squared_error(weights, train, y),
                "validationLoss": mean_squared_error(weights, validation, y_validation),
            }
            line = {"step": epoch, "epoch": epoch, "epochs": PARAMETERS["epochs"], **losses}
            print(json.dumps(line), file=metrics, flush=True)
            if epoch % 50 == 0:
                save(epoch, weights)

    own = {"validation": {"mse": mean_squared_error(weights, validation, y_validation)}}
    (OUTPUT / "metrics.json").write_text(json.dumps(own))
    onnx.save(exported(columns, mean, scale, weights), OUTPUT / "model.onnx")


def exported(columns: list[str], mean: np.ndarray, scale: np.ndarray, weights: np.ndarray) -> onnx.ModelProto:
    """One input a column, so that serving takes rows as they are; missing values are filled and scaled by the graph."""

    def constant(name: str, values: np.ndarray) -> onnx.TensorProto:
        return helper.make_tensor(name, TensorProto.FLOAT, values.shape, values.astype(np.float32).ravel())

    rows = len(columns)
    nodes = [
        helper.make_node("Concat", columns, ["x"], axis=1),
        helper.make_node("IsNaN", ["x"], ["missing"]),
        helper.make_node("Where", ["missing", "mean", "x"], ["filled"]),
        helper.make_node("Sub", ["filled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "weights", "bias"], [TARGET]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1]) for name in columns],
        [helper.make_tensor_value_info(TARGET, TensorProto.FLOAT, ["rows", 1])],
        [
            constant("mean", mean.reshape(1, rows)),
            constant("scale", scale.reshape(1, rows)),
            constant("weights", weights[:-1].reshape(rows, 1)),
            constant("bias", weights[-1:].reshape(1, 1)),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


if __name__ == "__main__":
    main()
