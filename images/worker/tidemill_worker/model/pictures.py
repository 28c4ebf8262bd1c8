"""Pictures of a dataset as pixels: the bytes of files are decoded and resized, lists of numbers are taken as they are.

It is what a client does before it asks a served model, which takes pixels.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, UnidentifiedImageError

from tidemill_worker.errors import ColumnType, InvalidData

FORMATS = ("PNG", "JPEG")
MOST_PIXELS = 64_000_000
"""Of one picture before it is resized: beyond it, a small file could fill the memory."""
_MODES = {1: "L", 3: "RGB"}


def is_picture(data_type: pa.DataType) -> bool:
    """Whether a column can hold pictures: bytes, or lists of numbers."""
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type) or pa.types.is_fixed_size_list(data_type):
        return bool(pa.types.is_integer(data_type.value_type) or pa.types.is_floating(data_type.value_type))
    return bool(pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type))


def pixels(table: pa.Table, name: str, shape: tuple[int, int, int], *, field: str | None = None) -> np.ndarray:
    """uint8 [rows, height, width, channels]. Raises InvalidData, naming the row, for what is no such picture."""
    column = table.column(name)
    if not is_picture(column.type):
        raise ColumnType(
            f"{field or 'the model'}: column {name!r} is {column.type}, not a picture: the bytes of a PNG or JPEG file, or a "
            "list of numbers from 0 to 255",
            field=field,
        )
    if column.null_count:
        first = int(np.argmax(column.is_null().to_numpy()))
        raise _wrong(name, first, f"is missing ({column.null_count} in all): filter them in the dataset", field)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        found = np.empty((len(column), *shape), dtype=np.uint8)
        for row, value in enumerate(column):
            found[row] = _decoded(value.as_buffer(), name, row, shape, field)
        return found
    return _listed(column.combine_chunks(), name, shape, field)


def _listed(column: pa.Array, name: str, shape: tuple[int, int, int], field: str | None) -> np.ndarray:
    size = int(np.prod(shape))
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    if (lengths != size).any():
        row = int(np.argmax(lengths != size))
        wish = " × ".join(map(str, shape))
        raise _wrong(
            name, row, f"has {lengths[row]} numbers, not {size} ({wish}): correct height, width or channels", field
        )
    values = np.asarray(pc.list_flatten(column).to_numpy(zero_copy_only=False), dtype=np.float64).reshape(
        len(column), size
    )
    whole = (values >= 0) & (values <= 255) & (values == np.round(values))
    if not whole.all():
        row = int(np.argmin(whole.all(axis=1)))
        value = values[row][~whole[row]][0]
        raise _wrong(
            name, row, f"holds {value:g}: pixels are whole numbers from 0 to 255; scale them in the dataset", field
        )
    return values.astype(np.uint8).reshape(len(column), *shape)


def _decoded(body: Any, name: str, row: int, shape: tuple[int, int, int], field: str | None) -> np.ndarray:
    height, width, channels = shape
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(body), formats=FORMATS) as picture:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if picture.width * picture.height > MOST_PIXELS:
                told = (
                    f"has {picture.width} × {picture.height} pixels, more than {MOST_PIXELS:,} in all: make it smaller"
                )
                raise _wrong(name, row, told, field)
            flat = picture.convert("RGBA") if picture.has_transparency_data else picture
            if flat.mode == "RGBA":
                flat = Image.alpha_composite(Image.new("RGBA", flat.size, (0, 0, 0, 255)), flat)
            whole = flat.convert(_MODES[channels]).resize((width, height), Image.Resampling.BILINEAR)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        OSError,
        SyntaxError,
    ) as error:
        raise _wrong(name, row, f"is no PNG or JPEG that can be decoded: {error}", field) from error
    return np.asarray(whole, dtype=np.uint8).reshape(shape)


def _wrong(name: str, row: int, told: str, field: str | None) -> InvalidData:
    return InvalidData(f"{field or 'the model'}: {name!r} of row {row + 1} {told}", field=field)
