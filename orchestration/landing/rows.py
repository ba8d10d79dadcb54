"""Rows of a landed file: decompressed within bounds, split, decoded, one by one."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from orchestration.config import LimitSettings
from orchestration.core.refusals import Refusal, RefusedError
from orchestration.landing.files import LandedFile, open_regular
from orchestration.landing.json_text import decode_row, decode_text

_BLOCK = 2**20
_PARQUET_BATCH = 8192
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One row as the file holds it: its value, or why it has none.

    Attributes:
        line: Line of a text file, else position of the element, from 1.
        value: The decoded value; None when refused.
        refusal: Why the row could not be read.
        sha256: Hash of the row's bytes, for a refused row only.
    """

    line: int
    value: Any
    refusal: Refusal | None = None
    sha256: str = ""


def read_rows(file: LandedFile, limits: LimitSettings) -> Iterator[Row]:
    """Every row of a file, in file order.

    Raises:
        RefusedError: a file code, when the file cannot be read as what it claims to be.
    """
    with open_regular(file.path) as raw:
        if file.format == "parquet":
            yield from _parquet_rows(raw)
            return
        stream = _Bounded(_inflated(raw, file.compression), size=file.size, limits=limits)
        if file.compression == "":
            stream.limit = None
        reader = {"jsonl": _json_line_rows, "json": _json_rows, "csv": _csv_rows}.get(file.format)
        if reader is None:
            raise RefusedError(
                "unknown_format", "expected .jsonl, .json, .csv or .parquet, plain, .gz or .zst"
            )
        yield from reader(stream, limits)


def _inflated(raw: IO[bytes], compression: str) -> IO[bytes]:
    if compression == "gz":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if compression == "zst":
        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)  # type: ignore[return-value]
    return raw


class _Bounded:
    """A byte stream that stops an inflating file from growing without end."""

    def __init__(self, stream: IO[bytes], *, size: int, limits: LimitSettings) -> None:
        self._stream = stream
        self._count = 0
        self.limit: int | None = max(limits.inflated_bytes, size * limits.inflation_ratio)

    def read(self, size: int = _BLOCK) -> bytes:
        """The next bytes.

        Raises:
            RefusedError: bad_gzip or decompression_limit.
        """
        try:
            block = self._stream.read(size)
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise RefusedError("bad_gzip", f"cannot be inflated: {error}") from error
        self._count += len(block)
        if self.limit is not None and self._count > self.limit:
            raise RefusedError(
                "decompression_limit",
                f"inflates beyond {self.limit} bytes; limits.inflated_bytes and "
                "limits.inflation_ratio raise that",
            )
        return block

    def read_all(self) -> bytes:
        """Everything that is left."""
        return b"".join(iter(self.read, b""))


# ---------------------------------------------------------------- JSON lines


def _json_line_rows(stream: _Bounded, limits: LimitSettings) -> Iterator[Row]:
    lines = _lines(stream, limits.line_bytes)
    first = next(lines, None)
    if first is None:
        return
    number, line = first
    _refuse_other_encodings(line)
    if line.lstrip()[:1] == b"[":
        rest = b"\n".join([line, *(more for _, more in lines)])
        yield from _document_rows(rest)
        return
    yield from _decoded(number, line, lines, limits)


def _decoded(
    number: int, line: bytes, lines: Iterator[tuple[int, bytes]], limits: LimitSettings
) -> Iterator[Row]:
    """Rows of JSON lines; a file of which no line is an object is refused as a whole."""
    held: list[Row] = []
    looks_like_lines = True
    any_parsed = False
    while True:
        row = _json_line(number, line, limits)
        if row is not None:
            any_parsed = any_parsed or row.refusal is None or row.refusal.code != "invalid_json"
            looks_like_lines = (
                looks_like_lines and line.lstrip()[:1] == b"{" and line.strip() != b"{"
            )
            if any_parsed:
                yield from held
                held.clear()
                yield row
            else:
                held.append(row)
        following = next(lines, None)
        if following is None:
            break
        number, line = following
    if held and not looks_like_lines:
        raise RefusedError("not_json_lines", "no line is a JSON object; one object a line is read")
    yield from held


def _json_line(number: int, line: bytes, limits: LimitSettings) -> Row | None:
    if not line.strip():
        return None
    if len(line) > limits.line_bytes:
        reason = f"longer than {limits.line_bytes} bytes (limits.line_bytes)"
        return _refused(number, line, Refusal("line_too_long", "", reason))
    try:
        return Row(line=number, value=decode_row(line))
    except RefusedError as error:
        return _refused(number, line, error.refusal)


def _refused(number: int, line: bytes, refusal: Refusal) -> Row:
    return Row(number, None, refusal=refusal, sha256=hashlib.sha256(line).hexdigest())


def _lines(stream: _Bounded, line_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, split at LF, CRLF and CR; of an overlong line only its beginning is kept."""
    pending = b""
    number = 0
    keep = line_bytes + 1
    while block := stream.read():
        pieces = (pending + block).replace(b"\r\n", b"\n").split(b"\n")
        pending = pieces.pop()
        if len(pending) > keep and not pending.endswith(b"\r"):
            pending = pending[:keep]
        for piece in pieces:
            for line in piece.split(b"\r") if b"\r" in piece else (piece,):
                number += 1
                yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
    for line in pending.split(b"\r") if pending else ():
        number += 1
        yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line


def _refuse_other_encodings(head: bytes) -> None:
    start = head[:64]
    looks_wide = start[:2] in (b"\xff\xfe", b"\xfe\xff") or start.count(0) * 4 > len(start)
    if looks_wide or start[:2] == b"\x1f\x8b" or start[:4] == b"\x28\xb5\x2f\xfd":
        raise RefusedError("encoding", "not UTF-8 text; UTF-16 and unmarked archives are not read")


# ---------------------------------------------------------------- JSON documents


def _json_rows(stream: _Bounded, _limits: LimitSettings) -> Iterator[Row]:
    data = stream.read_all().removeprefix(_BYTE_ORDER_MARK)
    if not data.strip():
        return
    _refuse_other_encodings(data)
    yield from _document_rows(data)


class _Twice(dict[str, Any]):
    """An object in which a key was written twice; `key` names it."""

    key = ""


def _document_rows(data: bytes) -> Iterator[Row]:
    document = read_document(data)
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        document = document["data"]
    elif isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        raise RefusedError("schema_mismatch", "expected a list of rows or a page with `data`")
    for number, value in enumerate(document, 1):
        twice = find_repeated_key(value)
        if twice:
            refusal = Refusal("duplicate_json_key", "", f"{twice} stands twice")
            yield _refused(number, repr(number).encode(), refusal)
        else:
            yield Row(line=number, value=value)


def read_document(data: bytes) -> Any:
    """A whole JSON document; objects with a repeated key are kept and found by find_repeated_key.

    Raises:
        RefusedError: encoding or invalid_json for the file.
    """
    try:
        text = decode_text(data)
    except RefusedError as error:
        raise RefusedError("encoding", error.refusal.reason) from error
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_float=Decimal, parse_constant=Decimal
        )
    except RecursionError as error:
        raise RefusedError("invalid_json", "nested too deeply") from error
    except ValueError as error:
        raise RefusedError("invalid_json", f"not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    twice = _Twice(found)
    twice.key = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
    return twice


def find_repeated_key(value: Any) -> str:
    """The words for a key that stands twice anywhere inside, or an empty string."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, _Twice):
            plain = item.key.isidentifier() and len(item.key) <= 40
            return f"key '{item.key}'" if plain else "a key"
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return ""


def read_document_of(file: LandedFile, limits: LimitSettings) -> Any:
    """The one JSON document a file holds, as price catalogs do; None when it is empty.

    Raises:
        RefusedError: a file code.
    """
    with open_regular(file.path) as raw:
        stream = _Bounded(_inflated(raw, file.compression), size=file.size, limits=limits)
        data = stream.read_all().removeprefix(_BYTE_ORDER_MARK)
    if not data.strip():
        return None
    _refuse_other_encodings(data)
    return read_document(data)


# ---------------------------------------------------------------- CSV


def _csv_rows(stream: _Bounded, limits: LimitSettings) -> Iterator[Row]:
    data = stream.read_all().removeprefix(_BYTE_ORDER_MARK)
    if not data.strip():
        return
    _refuse_other_encodings(data)
    try:
        text = decode_text(data)
    except RefusedError as error:
        raise RefusedError("encoding", error.refusal.reason) from error
    csv.field_size_limit(max(limits.line_bytes, 2**17))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [name.strip() for name in _next_record(reader) or []]
    repeated = next((name for name in header if header.count(name) > 1), None)
    if repeated is not None:
        raise RefusedError("duplicate_header", f"column '{repeated[:40]}' stands twice")
    yield from _csv_records(reader, header)


def _csv_records(reader: Any, header: list[str]) -> Iterator[Row]:
    while True:
        line = reader.line_num + 1
        record = _next_record(reader)
        if record is None:
            return
        if not record:
            continue
        joined = "\x1f".join(record)
        if len(record) != len(header):
            reason = f"{len(record)} columns where the header has {len(header)}"
            yield _refused(line, joined.encode(), Refusal("column_count", "", reason))
        elif "\x00" in joined:
            reason = "a NUL in a field"
            yield _refused(line, joined.encode(), Refusal("bad_encoding", "", reason))
        else:
            fields = zip(header, record, strict=True)
            yield Row(line, {name: text if text != "" else None for name, text in fields})


def _next_record(reader: Any) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise RefusedError("unclosed_quote", "a quote is opened and never closed") from error
        raise RefusedError("unclosed_quote", f"not CSV: {error}") from error


# ---------------------------------------------------------------- Parquet


def _parquet_rows(raw: IO[bytes]) -> Iterator[Row]:
    try:
        parquet = pq.ParquetFile(raw)
    except (pa.ArrowException, OSError) as error:
        raise RefusedError("bad_parquet", f"not a whole Parquet file: {error}") from error
    number = 0
    try:
        for batch in parquet.iter_batches(batch_size=_PARQUET_BATCH):
            for value in batch.to_pylist():
                number += 1
                yield Row(line=number, value=value)
    except (pa.ArrowException, OSError) as error:
        raise RefusedError("bad_parquet", f"damaged at row {number + 1}: {error}") from error


RowReader = Callable[[LandedFile, LimitSettings], Iterator[Row]]
