"""Evidently's PSI of every column of a file made by count_bins.py. Runs on Evidently's own interpreter; prints JSON."""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["DO_NOT_TRACK"] = "1"

import evidently
import numpy as np
import pandas as pd
from evidently import Dataset, Report
from evidently.metrics import ValueDrift


def main(path: str) -> int:
    """Load, score, print: the time of the scoring alone."""
    with np.load(path) as arrays:
        names = [f"c{i}" for i in range(len(arrays["reference"]))]
        reference = pd.DataFrame(dict(zip(names, arrays["reference"], strict=True)))
        current = pd.DataFrame(dict(zip(names, arrays["current"], strict=True)))
    report = Report([ValueDrift(column=name, method="psi") for name in names])
    wall, processor = time.perf_counter(), time.process_time()
    result = report.run(Dataset.from_pandas(current), Dataset.from_pandas(reference))
    scores = [float(metric["value"]) for metric in result.dict()["metrics"]]
    found = {
        "seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(time.process_time() - processor, 3),
        "psi": [round(score, 5) for score in scores[:4]],
        "version": evidently.__version__,
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
