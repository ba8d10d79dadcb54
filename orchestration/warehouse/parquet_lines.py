"""Rows of a Parquet file as lines of JSON, so that one SQL statement reads either.

Only columns of types whose JSON is beyond doubt are written; a file with any other, and a row with
a value that has no JSON of its own, is left to the strict reader, which sees the row as it is.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from orchestration.config import LimitSettings
from orchestration.landing.files import LandedFile
from orchestration.landing.line_blocks import LineBlock, block_of
from orchestration.landing.rows import Row, in_plain_types, read_batches, rows_of_batch
from orchestration.sources.litellm_spend_logs import TIME_FIELDS
from orchestration.warehouse.connection import quoted

# A line that is no JSON, for a row that is to be read strictly.
_NO_LINE = "-"
_TIME = "%Y-%m-%dT%H:%M:%S.%f"


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


def read_parquet_blocks(
    connection: duckdb.DuckDBPyConnection,
    file: LandedFile,
    limits: LimitSettings,
    json_fields: Collection[str],
) -> Iterator[LineBlock]:
    """Every row of a Parquet file as a line, in order, some thousand at a time.

    `json_fields` are columns that hold JSON as text.

    Raises:
        RefusedError: a file code.
    """
    for before, batch in read_batches(file, limits):
        text = _text(connection, batch, json_fields)
        yield block_of(text, before + 1, limits, _Rows(batch, before))


def _text(
    connection: duckdb.DuckDBPyConnection, batch: pa.RecordBatch, json_fields: Collection[str]
) -> bytes:
    """A line for every row, each with its end."""
    nothing = f"{_NO_LINE}\n".encode() * batch.num_rows
    try:
        plain = in_plain_types(batch)
        members = [_member(field, json_fields) for field in plain.schema]
        rows = pa.Table.from_batches([_without_zones(plain)])
    except (pa.ArrowInvalid, UnicodeError):
        return nothing
    if None in members:
        return nothing
    # `||` makes the whole line NULL where one member is.
    line = " || ',' || ".join(member for member in members if member)
    connection.register("parquet_rows", rows)
    try:
        column = connection.sql(
            f"select coalesce('{{' || {line} || '}}', {quoted(_NO_LINE)}) || chr(10) as line "
            "from parquet_rows"
        ).to_arrow_table()["line"]
    except duckdb.Error:
        # A text that is not UTF-8, which the strict reader tells from its neighbors.
        return nothing
    finally:
        connection.unregister("parquet_rows")
    return "".join(column.to_pylist()).encode()


def _member(field: pa.Field, json_fields: Collection[str]) -> str | None:
    """SQL of `"name": value`, NULL where the value has no JSON; None for a type that has none."""
    value = '"' + field.name.replace('"', '""') + '"'
    kind = field.type
    if pa.types.is_null(kind):
        text = "null"
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = f"cast(to_json({value}) as varchar)"
        if field.name in json_fields:
            # White space as it stands may be part of a text, which would be no JSON then.
            text = (
                f"case when starts_with({value}, '{{') or starts_with({value}, '[') then "
                f"case when not regexp_matches({value}, '[\\r\\n]') then {value} end end"
            )
    elif pa.types.is_timestamp(kind) and field.name in TIME_FIELDS:
        zone = "Z" if kind.tz is not None else ""
        text = f"strftime({value}, {quoted(_TIME + zone)})"
        text = f"'\"' || {text} || '\"'"
    elif pa.types.is_float64(kind):
        text = f"case when isfinite({value}) then cast({value} as varchar) end"
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        text = f"cast({value} as varchar)"
    else:
        return None
    name = quoted(json.dumps(field.name, ensure_ascii=False) + ":")
    return f"{name} || case when {value} is null then 'null' else {text} end"


def _without_zones(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with every time as microseconds in UTC that name no zone."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type):
            moments = batch.column(place).cast(pa.timestamp("us", field.type.tz))
            moments = moments.view(pa.int64()).view(pa.timestamp("us"))
            batch = batch.set_column(place, field.name, moments)
    return batch
