"""What a device does around an exported model, in plain numpy, and the page that tells how."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.contract.model import Signature
from tidemill_worker.model import tables
from tidemill_worker.model.predictor import values

README = """# Edge model

`model.xml` and `model.bin` are the model as OpenVINO IR. Numbers go in as they are (missing: NaN): filling, scaling and
everything else that was learnt is part of the model.

OpenVINO has no text. Where the model takes text, `preprocessing.json` says which whole number stands for each category
(`default` for every other one, `""` for missing), and where it answers with text, which output to take the greatest
value of and what the classes are called:

    import json, numpy as np, openvino as ov
    steps = json.load(open("preprocessing.json"))
    model = ov.Core().compile_model("model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    row = {"distance": 1400.0, "carrier": "UA"}      # one value for each input
    feed = {}
    for step in steps["inputs"]:
        value = row[step["name"]]
        if step["kind"] == "category":
            feed[step["name"]] = np.array([[step["categories"].get(value, step["default"])]], np.int64)
        else:
            feed[step["name"]] = np.array([[value]], np.float32)
    answer = model(feed)

Without the hint OpenVINO computes in bfloat16 on a CPU that has it, with errors of a percent. With it the answers are those
that `report.json` speaks of.

`report.json` tells how far the answers are from the original's, `signature.json` what the original takes and gives, and
`baseline.json` the distributions that drift is measured by.
"""


def preprocess(steps: list[dict[str, Any]], rows: pa.Table, signature: Signature) -> dict[str, np.ndarray]:
    """Raw columns as the exported model's inputs."""
    specs = {spec.name: spec for spec in signature.inputs}
    feed = {}
    for step in steps:
        spec = specs[step["name"]]
        if step["kind"] == "category":
            categories, default = step["categories"], step["default"]
            texts = tables.texts(rows, step["column"])
            feed[spec.name] = np.array([categories.get(text, default) for text in texts], np.int64).reshape(-1, 1)
        elif spec.column is not None:
            feed[spec.name] = values(rows, spec, spec.column)
        else:
            names = tables.matrix_columns(rows.column_names, signature)
            feed[spec.name] = np.concatenate([values(rows, spec, name) for name in names], axis=1)
    return feed
