"""Rows of a Parquet file for SQL: their metadata as lines, every other column as it is typed.

Only columns of types whose JSON is beyond doubt are taken; a file with any other, and a row with
text that is none, is left to the strict reader, which sees the row as it is.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from orchestration.config import LimitSettings
from orchestration.landing.files import LandedFile, open_regular
from orchestration.landing.line_blocks import LineBlock, block_of
from orchestration.landing.rows import Row, in_plain_types, read_batches, rows_of_batch
from orchestration.sources.litellm_spend_logs import TIME_FIELDS

# Its functions are made at run time, unseen by a type checker.
pc: Any = pyarrow.compute
METADATA = "metadata"
# A line that is no JSON, for a row that is to be read strictly.
_NO_LINE = "-"


@dataclass(frozen=True, slots=True)
class TypedColumn:
    """SQL of a column beside the metadata.

    Attributes:
        name: Its name beside the lines of a block.
        text: The value as a JSON reader would give it where a text is asked for.
        json: The value's JSON.
        is_count: Whether it is a whole number.
        is_moment: Whether it is a time, in UTC.
        is_zoned: Whether the file says so.
    """

    name: str
    text: str
    json: str
    is_count: bool = False
    is_moment: bool = False
    is_zoned: bool = False


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a batch as the file holds them."""

    batch: pa.RecordBatch
    before: int

    def rows(self, places: Iterable[int]) -> Iterator[Row | None]:
        wanted = list(places)
        # Not pa.array of the list, which imports pandas to see whether it is given a series.
        indices = pa.Array.from_buffers(
            pa.int64(), len(wanted), [None, pa.py_buffer(array("q", wanted))]
        )
        for place, row in zip(wanted, rows_of_batch(self.batch.take(indices), 0), strict=True):
            row.line = self.before + place + 1
            yield row


def typed_columns(file: LandedFile) -> dict[str, TypedColumn | None] | None:
    """The columns of a Parquet file by name, None for the metadata.

    None where the file is compressed as a whole, or has a column of which SQL reads nothing.
    """
    if file.format != "parquet" or file.compression:
        return None
    try:
        with open_regular(file.path) as raw:
            schema = pq.read_schema(raw)
        plain = in_plain_types(pa.RecordBatch.from_pylist([], schema)).schema
    except (pa.ArrowException, OSError, UnicodeError):
        return None
    columns: dict[str, TypedColumn | None] = {}
    for place, field in enumerate(plain):
        if field.name == METADATA:
            if not _is_text(field.type):
                return None
            columns[METADATA] = None
            continue
        column = _typed(_alias(place), field)
        if column is None:
            return None
        columns[field.name] = column
    return columns


def _alias(place: int) -> str:
    return f"c_{place}"


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _typed(ours: str, field: pa.Field) -> TypedColumn | None:
    kind = field.type
    if _is_text(kind):
        return TypedColumn(ours, text=ours, json=f"cast(to_json({ours}) as varchar)")
    written = f"cast({ours} as varchar)"
    if pa.types.is_timestamp(kind):
        if field.name not in TIME_FIELDS:
            return None
        return TypedColumn(ours, written, written, is_moment=True, is_zoned=kind.tz is not None)
    # A double counts by the shortest text that reads as it, which is how JSON would have written
    # it; nothing is reckoned with the double itself.
    is_plain = (
        pa.types.is_null(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_float64(kind)
    )
    is_count = pa.types.is_integer(kind)
    if not is_plain and not is_count:
        return None
    return TypedColumn(ours, written, written, is_count=is_count)


def read_parquet_blocks(file: LandedFile, limits: LimitSettings) -> Iterator[LineBlock]:
    """Every row of a Parquet file of which `typed_columns` are known, some thousand at a time.

    A block's lines are the metadata of its rows, and its other columns stand beside them.

    Raises:
        RefusedError: a file code.
    """
    for before, batch in read_batches(file, limits):
        yield _block(batch, before, limits)


def _block(batch: pa.RecordBatch, before: int, limits: LimitSettings) -> LineBlock:
    try:
        plain = _without_zones(in_plain_types(batch))
        plain.validate(full=True)
        lines, in_doubt = _lines(plain), _rows_with_nul(plain)
    except (pa.ArrowInvalid, UnicodeError):
        # Some text is not UTF-8, which the strict reader tells from its neighbors.
        plain = _without_zones(in_plain_types(batch.slice(0, 0)))
        plain = pa.RecordBatch.from_arrays(
            [pa.nulls(batch.num_rows, field.type) for field in plain.schema], schema=plain.schema
        )
        lines, in_doubt = f"{_NO_LINE}\n".encode() * batch.num_rows, ()
    beside = {
        _alias(place): plain.column(place)
        for place, name in enumerate(plain.schema.names)
        if name != METADATA
    }
    rows = _Rows(batch, before)
    return block_of(lines, before + 1, limits, rows, beside=beside, in_doubt=in_doubt)


def _lines(plain: pa.RecordBatch) -> bytes:
    """The metadata of every row as a line; an empty object where there are none."""
    end, nothing, no_line = _scalars("\n", "{}", _NO_LINE)
    place = plain.schema.get_field_index(METADATA)
    if place < 0:
        return b"{}\n" * plain.num_rows
    texts = plain.column(place).cast(pa.string())
    if texts.null_count:
        texts = pc.fill_null(texts, nothing)
    has_end = pc.match_substring(texts, "\n")
    if pc.any(has_end).as_py():
        texts = pc.if_else(has_end, no_line, texts)
    bounds = pa.Array.from_buffers(
        pa.int32(), 2, [None, pa.py_buffer(array("i", (0, plain.num_rows)))]
    )
    (text,) = pc.binary_join(pa.ListArray.from_arrays(bounds, texts), end)
    return text.as_buffer().to_pybytes() + b"\n"


def _scalars(*texts: str) -> Iterator[pa.StringScalar]:
    # Not pa.scalar, which imports pandas to see whether it is given a missing value.
    bounds = [0, *itertools.accumulate(len(text.encode()) for text in texts)]
    buffers = [pa.py_buffer(array("i", bounds)), pa.py_buffer("".join(texts).encode())]
    return iter(pa.StringArray.from_buffers(len(texts), *buffers))


def _rows_with_nul(plain: pa.RecordBatch) -> list[int]:
    """Places of the rows with a NUL in a text."""
    found: set[int] = set()
    for field, column in zip(plain.schema, plain.columns, strict=True):
        content = column.buffers()[-1] if _is_text(field.type) else None
        if content is None or np.frombuffer(content, np.uint8).all():
            continue
        found.update(pc.indices_nonzero(pc.match_substring(column, "\x00")).to_pylist())
    return sorted(found)


def _without_zones(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with every time as microseconds in UTC that name no zone."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type):
            moments = batch.column(place).cast(pa.timestamp("us", field.type.tz))
            moments = moments.view(pa.int64()).view(pa.timestamp("us"))
            batch = batch.set_column(place, field.name, moments)
    return batch
