"""Lines of a JSON lines file by the block, with what their bytes alone tell about them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from orchestration.config import LimitSettings
from orchestration.core.refusals import RefusedError
from orchestration.landing.files import LandedFile, open_regular
from orchestration.landing.json_text import PRICE_ENTRIES, decode_row
from orchestration.landing.rows import (
    Row,
    bounded,
    read_json_line,
    refuse_other_encodings,
    whole_lines,
)

_NEWLINE, _OPEN, _CLOSE, _LIST = b"\n{}["
# Lists within lists deeper than Python follows are refused, and so are integers longer than it
# converts: some 4,300 digits, of which some stand at every place looked at.
_MOST_LISTS = 200
_DIGITS_STEP = 1_000
_LONG_NUMBER = re.compile(rb"[0-9]{4000}")
_SYNTAX = msgspec.json.Decoder(msgspec.Raw)


class RowSource(Protocol):
    """Where the rows of a block come from, for the strict reader."""

    def rows(self, places: Iterable[int]) -> Iterator[Row | None]:
        """The rows at some places of the block, from 0; None for a blank line."""
        ...


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Consecutive rows of one file, each as a line of JSON.

    Attributes:
        first_line: Number of the first line, from 1.
        lines: The lines that may be read by SQL: `line_number, line, objects`. `objects`
            counts the braces of the line that open anything but `{}`, and `line` has `{}` for a
            price entry met before. Other columns of the row may stand beside them.
        doubtful: Numbers of the lines that the strict reader has to decide on.
        count: How many lines there are.
    """

    first_line: int
    lines: pa.RecordBatch
    doubtful: list[int]
    count: int
    source: RowSource

    def rows_of(self, numbers: Iterable[int]) -> Iterator[Row | None]:
        """The rows of some lines as the file holds them; None for a blank line."""
        return self.source.rows(number - self.first_line for number in numbers)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines as received, without their ends."""

    data: bytes
    first_line: int
    starts: Any
    ends: Any
    limits: LimitSettings

    def rows(self, places: Iterable[int]) -> Iterator[Row | None]:
        for place in places:
            line = self.data[self.starts[place] : self.ends[place]]
            yield read_json_line(self.first_line + place, line, self.limits)


def first_row(file: LandedFile, limits: LimitSettings) -> dict[str, Any] | None:
    """The first row of a file of JSON lines; None where it is anything else than that.

    Raises:
        RefusedError: bad_gzip or decompression_limit.
    """
    if file.format != "jsonl":
        return None
    with open_regular(file.path) as raw:
        start = bounded(raw, file, limits).beginning()
    try:
        line = start.replace(b"\r", b"\n").partition(b"\n")[0]
        refuse_other_encodings(line)
        value = decode_row(line) if line[:1] == b"{" else None
    except RefusedError:
        return None
    return value if isinstance(value, dict) and value else None


def read_line_blocks(file: LandedFile, limits: LimitSettings) -> Iterator[LineBlock]:
    """Every line of a file, in order, a mebibyte or so at a time.

    Raises:
        RefusedError: bad_gzip or decompression_limit.
    """
    number = 1
    with open_regular(file.path) as raw:
        for data in whole_lines(bounded(raw, file, limits), limits.line_bytes):
            block = block_of(data, number, limits)
            number += block.count
            yield block


def block_of(
    data: bytes,
    first_line: int,
    limits: LimitSettings,
    source: RowSource | None = None,
    *,
    beside: Mapping[str, pa.Array] | None = None,
    in_doubt: Sequence[int] = (),
) -> LineBlock:
    """The block of some text, whose rows come from `source` where they are no lines of a file.

    `beside` are columns that each row has besides its line; `in_doubt` are places of rows that are
    doubtful whatever their lines are.
    """
    text = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(text == _NEWLINE)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([0], ends[:-1] + 1))
    doubtful = text[np.minimum(starts, len(data) - 1)] != _OPEN
    doubtful |= ends - starts > limits.line_bytes
    doubtful[list(in_doubt)] = True
    shorter, kept_ends = _without_price_entries(data, ends)
    kept_starts = np.concatenate(([0], kept_ends[:-1] + 1))
    doubtful[_broken_lines(shorter, kept_starts, kept_ends)] = True
    left = np.frombuffer(shorter, np.uint8)
    opened = np.flatnonzero(left == _OPEN)
    opened = opened[left[np.minimum(opened + 1, len(left) - 1)] != _CLOSE]
    lists = np.bincount(_lines_of(np.flatnonzero(left == _LIST), kept_starts), minlength=len(ends))
    doubtful |= lists > _MOST_LISTS
    doubtful[_lines_of(_long_numbers(shorter, left), kept_starts)] = True
    lines = _texts(shorter, kept_starts, doubtful)
    counts = np.bincount(_lines_of(opened, kept_starts), minlength=len(ends))
    columns = [
        _integers(np.arange(first_line, first_line + len(ends))),
        lines,
        _integers(counts),
        *(beside or {}).values(),
    ]
    names = ["line_number", "line", "objects", *(beside or {})]
    batch = pa.RecordBatch.from_arrays(columns, names)
    if doubtful.any():
        batch = batch.filter(_truths(~doubtful))
    numbers = [first_line + int(place) for place in np.flatnonzero(doubtful)]
    rows = source or _Lines(data, first_line, starts, ends, limits)
    return LineBlock(first_line, batch, numbers, len(ends), rows)


def _integers(values: Any) -> pa.Array:
    # Not pa.array, which imports pandas to see whether it is given a series.
    buffer = pa.py_buffer(values.astype(np.int64))
    return pa.Array.from_buffers(pa.int64(), len(values), [None, buffer])


def _truths(values: Any) -> pa.Array:
    buffer = pa.py_buffer(np.packbits(values, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, buffer])


def _lines_of(places: Any, starts: Any) -> Any:
    return np.searchsorted(starts, places, side="right") - 1


def _broken_lines(data: bytes, starts: Any, ends: Any) -> list[int]:
    """Places of the lines that are not one JSON value each.

    DuckDB's parser lets a trailing comma and NaN pass; the strict one here does not.
    """
    try:
        if len(_SYNTAX.decode_lines(data)) == len(starts):
            return []
    except (msgspec.MsgspecError, RecursionError):
        pass
    lines = zip(starts.tolist(), ends.tolist(), strict=True)
    return [place for place, (start, end) in enumerate(lines) if not _is_json(data[start:end])]


def _long_numbers(data: bytes, text: Any) -> list[int]:
    """Where a number of thousands of digits stands."""
    sample = text[::_DIGITS_STEP]
    is_digit = (sample >= ord("0")) & (sample <= ord("9"))
    is_run = is_digit[:-3] & is_digit[1:-2] & is_digit[2:-1] & is_digit[3:]
    runs = np.flatnonzero(is_run) * _DIGITS_STEP
    found = (_LONG_NUMBER.search(data, max(0, at - 5_000), at + 9_000) for at in runs.tolist())
    return [match.start() for match in found if match]


def _is_json(line: bytes) -> bool:
    try:
        _SYNTAX.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _without_price_entries(data: bytes, ends: Any) -> tuple[bytes, Any]:
    """The lines with `{}` for every price entry met before, and where they end now."""
    found = list(PRICE_ENTRIES.find_known(data))
    if not found:
        return data, ends
    pieces, position = [], 0
    for start, stop in found:
        pieces += (data[position:start], b"{}")
        position = stop
    pieces.append(data[position:])
    removed = np.cumsum([0] + [stop - start - 2 for start, stop in found])
    places = np.array([start for start, _ in found])
    return b"".join(pieces), ends - removed[np.searchsorted(places, ends)]


def _texts(data: bytes, starts: Any, doubtful: Any) -> pa.LargeStringArray:
    """The lines as Arrow strings over the block's own bytes; what is not UTF-8 is doubtful."""
    offsets = np.append(starts, len(data)).astype(np.int64)
    lines = pa.LargeStringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(data))
    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        for place in range(len(starts)):
            doubtful[place] |= not _is_text(data[offsets[place] : offsets[place + 1]])
    return lines


def _is_text(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
