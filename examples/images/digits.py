"""Writes digits.parquet: the 1,797 handwritten digits of scikit-learn (UCI, CC BY 4.0) as PNG files in a column.

pip install scikit-learn pillow pyarrow && python digits.py digits.parquet
"""

from __future__ import annotations

import io
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits


def main(path: str) -> None:
    """8 × 8 pixels, of which scikit-learn has 17 shades."""
    found = load_digits()
    files = []
    for pixels in found.images:
        body = io.BytesIO()
        Image.fromarray((pixels * 15.9).astype("uint8")).save(body, "PNG")
        files.append(body.getvalue())
    table = {"picture": pa.array(files, pa.binary()), "digit": pa.array(found.target.astype(str))}
    pq.write_table(pa.table(table), path)


if __name__ == "__main__":
    main(sys.argv[1])
