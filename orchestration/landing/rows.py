"""Rows of a landed file: decompressed within bounds, split, decoded, one by one."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from orchestration.config import LimitSettings
from orchestration.core.refusals import Refusal, RefusedError, shown, without_secrets
from orchestration.landing.files import LandedFile, open_regular
from orchestration.landing.json_text import (
    RepeatedKeyObject,
    decode_row,
    decode_text,
    find_refusal,
    named,
    read_json,
)
from orchestration.sources.owners import TABLE_FIELD

if TYPE_CHECKING:
    # Imported where it is used: whether anything is new is found out without.
    import pyarrow as pa
    import pyarrow.parquet as pq

_BLOCK = 2**20
_PARQUET_BATCH = 8192
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITESPACE = b" \t\r\n"
# Lines of which none is JSON, before a file is given up as no JSON lines at all.
_LINES_IN_DOUBT = 10_000

ColumnsFound = Callable[[list[str]], None]
# The rows wrapped in a document or a line; None where it is not wrapped.
Unpack = Callable[[Any], list[Any] | None]


@dataclass(slots=True)
class Row:
    """One row as the file holds it: its value, or why it has none.

    Attributes:
        line: Line of a text file, else position of the element, from 1.
        value: The decoded value; None when refused.
        refusal: Why the row could not be read.
        content: The row's bytes as received, where it has any of its own.
    """

    line: int
    value: Any
    refusal: Refusal | None = None
    content: bytes = b""

    def sha256(self) -> str:
        """The hash of the row as received, in hex."""
        return hashlib.sha256(self.content or _content_of(self.value)).hexdigest()


def _content_of(value: Any) -> bytes:
    try:
        return repr(value).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"nested too deeply"


def read_rows(
    file: LandedFile,
    limits: LimitSettings,
    *,
    columns_found: ColumnsFound = lambda _names: None,
    unpack: Unpack | None = None,
    default_format: str = "",
) -> Iterator[Row]:
    """Every row of a file, in file order.

    `columns_found` hears the columns of a CSV or Parquet file before its first row, and so also
    those of a file without rows. `unpack` takes the rows out of a JSON document or line that wraps
    them; rows of lines are then counted by their position in the file. `default_format` is that of
    a file whose name ends in none.

    Raises:
        RefusedError: a file code, when the file cannot be read as what it claims to be.
    """
    file_format = file.format or default_format
    with open_regular(file.path) as raw:
        if file_format == "parquet":
            yield from _parquet_rows(_seekable(raw, file, limits), limits, columns_found)
            return
        stream = bounded(raw, file, limits)
        if file_format == "jsonl":
            yield from _unpacked(_json_line_rows(stream, limits), unpack)
        elif file_format == "json":
            yield from _unpacked(_json_rows(stream, unpack), unpack)
        elif file_format == "csv":
            yield from _csv_rows(stream, limits, columns_found)
        else:
            raise RefusedError(
                "unknown_format", "expected .jsonl, .json, .csv or .parquet, plain, .gz or .zst"
            )


def _unpacked(rows: Iterator[Row], unpack: Unpack | None) -> Iterator[Row]:
    """The rows, with those that wrap several replaced by what they wrap."""
    if unpack is None:
        yield from rows
        return
    number = 0
    for row in rows:
        wrapped = unpack(row.value)
        # What is wrapped has no bytes of its own.
        inner = [row] if wrapped is None else [Row(0, value) for value in wrapped]
        for each in inner:
            number += 1
            each.line = number
            yield each


def bounded(raw: IO[bytes], file: LandedFile, limits: LimitSettings) -> BoundedStream:
    """The file's inflated bytes."""
    limit = max(limits.inflated_bytes, file.size * limits.inflation_ratio)
    if file.compression == "gz":
        return BoundedStream(gzip.GzipFile(fileobj=raw), limit=limit)
    if file.compression == "zst":
        import pyarrow as pa

        # This reader tells a frame that ends too early from a whole one; a silent end loses rows.
        return BoundedStream(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"), limit=limit)
    return BoundedStream(raw, limit=None)


class BoundedStream:
    """A byte stream that stops an inflating file from growing without end."""

    def __init__(self, stream: Any, *, limit: int | None) -> None:
        self._stream = stream
        self._count = 0
        self._limit = limit
        self._returned = b""

    def read(self) -> bytes:
        """The next bytes; none at the end.

        Raises:
            RefusedError: bad_gzip or decompression_limit.
        """
        if self._returned:
            block, self._returned = self._returned, b""
            return block
        try:
            block = self._stream.read(_BLOCK)
        except (OSError, EOFError, zlib.error) as error:
            raise RefusedError("bad_gzip", f"cannot be inflated: {error}") from error
        self._count += len(block)
        if self._limit is not None and self._count > self._limit:
            raise RefusedError(
                "decompression_limit",
                f"inflates beyond {self._limit} bytes; limits.inflated_bytes and "
                "limits.inflation_ratio raise that",
            )
        return block

    def read_all(self) -> bytes:
        """Everything that is left."""
        return b"".join(iter(self.read, b""))

    def beginning(self) -> bytes:
        """The first bytes that are not white space, up to a block; they are read again."""
        skipped = []
        while block := self.read():
            skipped.append(block)
            if start := block.removeprefix(_BYTE_ORDER_MARK).lstrip(_WHITESPACE):
                self._returned = b"".join(skipped)
                return start
        self._returned = b"".join(skipped)
        return b""


def refuse_other_encodings(start: bytes) -> None:
    """Refuse what is no UTF-8 text by its first bytes.

    Raises:
        RefusedError: encoding.
    """
    start = start[:64]
    looks_wide = start[:2] in (b"\xff\xfe", b"\xfe\xff") or start.count(0) * 4 > len(start)
    if looks_wide or start[:2] == b"\x1f\x8b" or start[:4] == b"\x28\xb5\x2f\xfd":
        raise RefusedError("encoding", "not UTF-8 text; UTF-16 and unmarked archives are not read")


# ---------------------------------------------------------------- JSON lines


def _json_line_rows(stream: BoundedStream, limits: LimitSettings) -> Iterator[Row]:
    start = stream.beginning()
    refuse_other_encodings(start.partition(b"\n")[0])
    if start[:1] != b"[":
        yield from _decoded(_lines(stream, limits.line_bytes), limits)
        return
    data = stream.read_all()
    try:
        yield from _document_rows(data)
    except RefusedError:
        if not _is_value_and_more(data):
            raise
        lines = _lines(BoundedStream(io.BytesIO(data), limit=None), limits.line_bytes)
        yield from _decoded(lines, limits)


def _is_value_and_more(data: bytes) -> bool:
    """Whether the first line is a whole JSON value and others follow, as in JSON lines."""
    first, _, rest = data.removeprefix(_BYTE_ORDER_MARK).lstrip(_WHITESPACE).partition(b"\n")
    try:
        decode_row(first)
    except RefusedError:
        return False
    return bool(rest.strip())


def _decoded(lines: Iterator[tuple[int, bytes]], limits: LimitSettings) -> Iterator[Row]:
    """Rows of JSON lines; a file of which no line is an object is refused as a whole."""
    held: list[Row] = []
    in_doubt = True
    look_like_objects = True
    for number, line in lines:
        row = read_json_line(number, line, limits)
        if row is None:
            continue
        if not in_doubt:
            yield row
            continue
        held.append(row)
        text = line.strip()
        look_like_objects = look_like_objects and text[:1] == b"{" and text != b"{"
        code = row.refusal.code if row.refusal else ""
        if text[:1] == b"{" and code != "invalid_json" and text != b"{}":
            in_doubt = False
            yield from held
            held.clear()
        elif len(held) >= _LINES_IN_DOUBT:
            break
    if held and not look_like_objects:
        raise RefusedError("not_json_lines", "no line is a JSON object; one object a line is read")
    yield from held


def read_json_line(number: int, line: bytes, limits: LimitSettings) -> Row | None:
    """The row of one line; None for a blank one."""
    if not line.strip():
        return None
    if len(line) > limits.line_bytes:
        reason = f"longer than {limits.line_bytes} bytes (limits.line_bytes)"
        return Row(number, None, Refusal("line_too_long", "", reason), line)
    try:
        return Row(number, decode_row(line), None, line)
    except RefusedError as error:
        return Row(number, None, error.refusal, line)


def _lines(stream: BoundedStream, line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Numbered lines; of an overlong line only its beginning is kept."""
    number = 0
    for data in whole_lines(stream, line_bytes):
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            number += 1
            yield number, line


def whole_lines(stream: BoundedStream, line_bytes: int) -> Iterator[bytes]:
    """The text in blocks of whole lines, each ended by LF, where it was CRLF or CR too.

    The last line may lack its end, and of an overlong line only the beginning is kept.
    """
    pending = b""
    is_first = True
    keep = line_bytes + 1
    while block := stream.read():
        data = pending + block
        undecided = b""
        if b"\r" in data:
            if data.endswith(b"\r"):
                # Its line feed may stand at the beginning of the next block.
                data, undecided = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = data.rfind(b"\n") + 1
        pending = data[end:][:keep] + undecided
        if end:
            yield data[:end].removeprefix(_BYTE_ORDER_MARK) if is_first else data[:end]
            is_first = False
    pending = pending.removesuffix(b"\r")
    if pending:
        yield pending.removeprefix(_BYTE_ORDER_MARK) if is_first else pending


# ---------------------------------------------------------------- JSON documents


def _json_rows(stream: BoundedStream, unpack: Unpack | None = None) -> Iterator[Row]:
    start = stream.beginning()
    if start:
        refuse_other_encodings(start)
        yield from _document_rows(stream.read_all(), unpack)


def _document_rows(data: bytes, unpack: Unpack | None = None) -> Iterator[Row]:
    document, is_sound = _read_document(data)
    wrapped = None if unpack is None else unpack(document)
    if wrapped is not None:
        _refuse_repeated_beside_rows(document)
        document = wrapped
    elif isinstance(document, dict) and isinstance(document.get("data"), list):
        _refuse_repeated_beside_rows(document)
        document = document["data"]
    elif isinstance(document, dict) and _is_collection(document):
        document = document["items"]
    elif isinstance(document, dict):
        document = _rows_of_tables(document) or [document]
    if not isinstance(document, list):
        raise RefusedError("schema_mismatch", "expected a list of rows or a page with `data`")
    for number, value in enumerate(document, 1):
        refusal = None if is_sound else find_refusal(value)
        if refusal is None:
            yield Row(number, value)
        else:
            yield Row(number, None, refusal, _content_of(value))


def _is_collection(document: dict[str, Any]) -> bool:
    """Whether this is a page of Razorpay's, whose rows are its items."""
    return document.get("entity") == "collection" and isinstance(document.get("items"), list)


def _refuse_repeated_beside_rows(document: Any) -> None:
    if isinstance(document, RepeatedKeyObject):
        reason = f"{named(document.repeated)} stands twice beside the rows"
        raise RefusedError("duplicate_json_key", reason)


def _rows_of_tables(document: dict[str, Any]) -> list[Any] | None:
    """The rows of a document of LiteLLM's tables by name, each with the name of its table."""
    if not document or not all(
        name.startswith("LiteLLM_") and isinstance(rows, list) for name, rows in document.items()
    ):
        return None
    return [
        {**row, TABLE_FIELD: name} if isinstance(row, dict) else row
        for name, rows in document.items()
        for row in rows
    ]


def read_document(data: bytes) -> Any:
    """A whole JSON document; what find_refusal would refuse is kept inside it.

    Raises:
        RefusedError: encoding or invalid_json for the file.
    """
    return _read_document(data)[0]


def _read_document(data: bytes) -> tuple[Any, bool]:
    """The document, and whether find_refusal is sure to find nothing in it."""
    data = data.removeprefix(_BYTE_ORDER_MARK)
    try:
        return decode_row(data), True
    except RefusedError as error:
        if error.refusal.code == "invalid_json":
            raise
    try:
        return read_json(decode_text(data)), False
    except RefusedError as error:
        if error.refusal.code == "bad_encoding":
            raise RefusedError("encoding", error.refusal.reason) from error
        raise


def read_document_of(file: LandedFile, limits: LimitSettings) -> Any:
    """The one JSON document a file holds, as price catalogs do; None when it is empty.

    Raises:
        RefusedError: a file code.
    """
    with open_regular(file.path) as raw:
        stream = bounded(raw, file, limits)
        start = stream.beginning()
        if not start:
            return None
        refuse_other_encodings(start)
        return read_document(stream.read_all())


# ---------------------------------------------------------------- CSV


def _csv_rows(
    stream: BoundedStream, limits: LimitSettings, columns_found: ColumnsFound
) -> Iterator[Row]:
    start = stream.beginning()
    if not start:
        return
    refuse_other_encodings(start)
    try:
        text = decode_text(stream.read_all().removeprefix(_BYTE_ORDER_MARK))
    except RefusedError as error:
        raise RefusedError("encoding", error.refusal.reason) from error
    # The limit is that of a row, checked below: here it would look like a quote left open.
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    while not any(header):
        header = [name.strip() for name in _next_record(reader) or ()]
    columns_found(header)
    _refuse_repeated(header)
    yield from _csv_records(reader, header, limits)


def _refuse_repeated(names: list[str]) -> None:
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise RefusedError("duplicate_header", f"column '{shown(repeated, 40)}' stands twice")


def _csv_records(reader: Any, header: list[str], limits: LimitSettings) -> Iterator[Row]:
    while True:
        line = reader.line_num + 1
        record = _next_record(reader)
        if record is None:
            return
        if len(record) <= 1 and not "".join(record).strip():
            continue
        joined = "\x1f".join(record)
        refusal = _csv_refusal(record, joined, header, limits)
        if refusal is not None:
            yield Row(line, None, refusal, joined.encode())
        else:
            fields = zip(header, record, strict=True)
            yield Row(line, {name: text or None for name, text in fields}, None, joined.encode())


def _csv_refusal(
    record: list[str], joined: str, header: list[str], limits: LimitSettings
) -> Refusal | None:
    if len(record) != len(header):
        reason = f"{len(record)} columns where the header has {len(header)}"
        return Refusal("column_count", "", reason)
    if "\x00" in joined:
        return Refusal("bad_encoding", "", "a NUL in a field")
    if len(joined) > limits.line_bytes:
        reason = f"longer than {limits.line_bytes} characters (limits.line_bytes)"
        return Refusal("line_too_long", "", reason)
    return None


def _next_record(reader: Any) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise RefusedError("unclosed_quote", "a quote is opened and never closed") from error
        raise RefusedError("unclosed_quote", f"not CSV: {error}") from error


# ---------------------------------------------------------------- Parquet


def _seekable(raw: IO[bytes], file: LandedFile, limits: LimitSettings) -> IO[bytes]:
    return io.BytesIO(bounded(raw, file, limits).read_all()) if file.compression else raw


def _parquet_rows(
    raw: IO[bytes], limits: LimitSettings, columns_found: ColumnsFound
) -> Iterator[Row]:
    for before, batch in _parquet_batches(raw, limits, columns_found):
        yield from rows_of_batch(batch, before)


def read_batches(file: LandedFile, limits: LimitSettings) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(rows before it, batch) of a Parquet file, some thousand rows each.

    Raises:
        RefusedError: a file code.
    """
    with open_regular(file.path) as raw:
        yield from _parquet_batches(_seekable(raw, file, limits), limits, lambda _names: None)


def _parquet_batches(
    raw: IO[bytes], limits: LimitSettings, columns_found: ColumnsFound
) -> Iterator[tuple[int, pa.RecordBatch]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        parquet = pq.ParquetFile(raw)
        names = parquet.schema_arrow.names
        columns_found(names)
        _refuse_parquet(parquet, names, size=raw.seek(0, io.SEEK_END), limits=limits)
        for batch in parquet.iter_batches(batch_size=_PARQUET_BATCH):
            yield number, batch
            number += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = f"not a whole Parquet file, or damaged after row {number}: {error}"
        raise RefusedError("bad_parquet", without_secrets(reason)) from error


def _refuse_parquet(
    parquet: pq.ParquetFile, names: list[str], *, size: int, limits: LimitSettings
) -> None:
    _refuse_repeated(names)
    parts = parquet.metadata
    inflated = sum(parts.row_group(i).total_byte_size for i in range(parts.num_row_groups))
    limit = max(limits.inflated_bytes, size * limits.inflation_ratio)
    if inflated > limit:
        raise RefusedError("decompression_limit", f"inflates beyond {limit} bytes")


def rows_of_batch(batch: pa.RecordBatch, before: int) -> Iterator[Row]:
    """The rows of a batch, numbered on from those before it."""
    import pyarrow as pa

    try:
        values = in_plain_types(batch).to_pylist()
    except (pa.ArrowInvalid, ValueError, OverflowError):
        # One of the values is broken: find out which.
        for place in range(batch.num_rows):
            yield _single_row(batch.slice(place, 1), before + place + 1)
        return
    for number, value in enumerate(values, before + 1):
        yield _sound_row(number, value)


def _single_row(batch: pa.RecordBatch, number: int) -> Row:
    import pyarrow as pa

    try:
        return _sound_row(number, in_plain_types(batch).to_pylist()[0])
    except (pa.ArrowInvalid, UnicodeError):
        refusal = Refusal("bad_encoding", "", "not UTF-8")
    except (ValueError, OverflowError):
        refusal = Refusal("bad_timestamp", "", "a time outside the years 1 to 9999")
    return Row(number, None, refusal, str(batch.to_struct_array()).encode("utf-8", "replace"))


def _sound_row(number: int, value: dict[str, Any]) -> Row:
    for item in value.values():
        if isinstance(item, str | dict | list) and (refusal := find_refusal(item)):
            return Row(number, None, refusal, _content_of(value))
    return Row(number, value)


def in_plain_types(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with times in microseconds and bytes as the text they are written for."""
    import pyarrow as pa

    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            target = pa.timestamp("us", field.type.tz)
            column = batch.column(place).cast(target, safe=False)
        elif pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            column = batch.column(place).cast(pa.string())
        else:
            continue
        batch = batch.set_column(place, field.name, column)
    return batch
