"""The signature's example row as input tensors."""

from __future__ import annotations

import numpy as np

from tidemill.contract.model import Signature
from tidemill_worker.errors import ModelInvalid
from tidemill_worker.model.predictor import NUMPY


def example_feed(signature: Signature) -> dict[str, np.ndarray]:
    """One row; a missing number is NaN, missing text is empty."""
    feed = {}
    for spec in signature.inputs:
        values = (signature.example or {}).get(spec.name)
        if values is None:
            raise ModelInvalid(f"the signature's example has no value for input {spec.name}")
        shape = (1, *(len(values) if dimension == -1 else dimension for dimension in spec.shape[1:]))
        if spec.datatype == "BYTES":
            filled: list[object] = ["" if v is None else str(v) for v in values]
            feed[spec.name] = np.array(filled, dtype=object).reshape(shape)
        else:
            numbers = [float("nan") if v is None else float(v) for v in values]
            feed[spec.name] = np.array(numbers).astype(NUMPY[spec.datatype]).reshape(shape)
    return feed
