"""The one loader: landed files into raw, with their ledger entry, in one transaction each."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache, cached_property
from typing import Any

import duckdb

from orchestration.config import Runtime, mapping_of
from orchestration.core.refusals import (
    FILE_NOTE_CODES,
    WHOLE_CODES,
    Refusal,
    RefusedError,
    shown,
)
from orchestration.landing.files import (
    LandedFile,
    Listing,
    UnsettledFileError,
    hash_file,
    list_landing,
)
from orchestration.landing.kinds import (
    OBSERVED_KINDS,
    PRICE_CATALOG,
    ROW_KINDS,
    FileKind,
    recognise,
)
from orchestration.landing.line_blocks import LineBlock, first_row, read_line_blocks
from orchestration.landing.observed import first_seen, stated_observation
from orchestration.landing.rows import Row, read_rows
from orchestration.sources.records import Part, Record, RecordContext, RefusedInvoice
from orchestration.warehouse import evidence, load_observed, load_prices, privacy, staged
from orchestration.warehouse.connection import without_checkpoints
from orchestration.warehouse.ledger import Batch, Ledger, Quarantined
from orchestration.warehouse.parquet_lines import TypedColumn, read_parquet_blocks, typed_columns
from orchestration.warehouse.retry import NOT_KEPT, kept_fields, read_context
from orchestration.warehouse.spend_log_lines import SpendLogLines

# Rows parsed before they are handed to DuckDB: bounds memory, keeps Arrow batches worthwhile.
CHUNK_ROWS = 20_000
# The same for lines that SQL reads: below that size planning costs more than reading. The first of
# a file are fewer, as nothing else can be done before they are read. Rows that make a row group
# are taken over as they are, fewer are written once more; the size may be half above for that.
CHUNK_BYTES = 2**27
FIRST_CHUNK_BYTES = 2**24
_ROW_GROUP = 122_880
LINES_FROM_BYTES = 2**18
# Rows of small files that are left in the write-ahead log until there is a checkpoint.
CHECKPOINT_ROWS = 200_000
# Files that are read while their hash is taken: what may turn out to be known is read for nothing.
LONG_FILE_BYTES = 2**24
# Kinds of which the same bytes, seen again, say something new: that it still, or again, is so.
_OBSERVING = frozenset({PRICE_CATALOG, *OBSERVED_KINDS})


@dataclass(slots=True)
class LoadReport:
    """What one load step did.

    Attributes:
        batches: Ledger entries written, in order.
        strays: Files that lie in no source's folder.
        unsettled: Files still growing, or that could not be opened; left for the next run.
    """

    batches: list[Batch] = field(default_factory=list)
    strays: tuple[str, ...] = ()
    unsettled: tuple[str, ...] = ()

    def total(self, name: str) -> int:
        """The sum of one count over all batches."""
        return sum(getattr(batch, name) for batch in self.batches)


Progress = Callable[[str], None]


def look_at_landing(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> Listing:
    """The landed files the ledger does not know, or knows otherwise."""
    ledger = Ledger(connection)
    return list_landing(runtime.landing, runtime.settings.sources, is_known=ledger.is_known)


def load_landing(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, *, progress: Progress
) -> LoadReport:
    """Load every new file of the landing folder; each in a transaction of its own.

    A file that cannot be read is rejected and the rest goes on. What a person dropped and may
    hold content is replaced by its allow-listed rows once they are in raw.
    """
    ledger = Ledger(connection)
    privacy.read_into(connection, runtime.landing)
    evidence.finish_interrupted(connection, ledger, runtime)
    listing = look_at_landing(connection, runtime)
    report = LoadReport(strays=listing.strays, unsettled=listing.unsettled)
    rows = 0
    for number, file in enumerate(listing.files, 1):
        progress(f"load {number} of {len(listing.files)}: {shown(file.name, 200)}")
        try:
            with without_checkpoints(connection):
                batch = _load_file(connection, ledger, file, runtime, progress)
        except UnsettledFileError:
            report.unsettled += (file.name,)
            continue
        if batch is None:
            continue
        report.batches.append(batch)
        rows += batch.rows_loaded
        if rows >= CHECKPOINT_ROWS and number < len(listing.files):
            connection.execute("checkpoint")
            rows = 0
    ledger.write_head(runtime.home)
    return report


def _load_file(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    file: LandedFile,
    runtime: Runtime,
    progress: Progress,
) -> Batch | None:
    """The ledger entry written for a file; None where the very file has one.

    Raises:
        UnsettledFileError: the file cannot be opened, or changed while it was read.
    """
    batch = _new_batch(file, runtime)
    try:
        if file.is_evidence:
            return evidence.restore(connection, ledger, file)
        with _Hashing(ledger, file, batch) as hashing:
            reading = _Reading(connection, file, runtime, hashing, progress)
            if file.size >= LONG_FILE_BYTES and file.kinds[0] not in _OBSERVING:
                reading.stage_ahead()
            batch = hashing.batch()
        same_file = ledger.find_same_file(batch)
        if same_file is not None:
            evidence.scrub(connection, ledger, file, runtime, ledger.see_again(same_file, file))
            return None
        known = _same_bytes(ledger, file, batch)
        if known is not None:
            return _load_again(connection, ledger, file, runtime, batch, known)
        batch = _load_content(connection, ledger, file, runtime, batch, reading)
    except RefusedError as error:
        batch = _rejected(batch, error.refusal)
        invoices = error.invoices if isinstance(error, _RefusedWholeError) else ()
        ledger.write(batch, refused_invoices=invoices)
        return batch
    return evidence.scrub(connection, ledger, file, runtime, batch)


def _same_bytes(ledger: Ledger, file: LandedFile, batch: Batch) -> Batch | None:
    """The entry of the same bytes, where seeing them again says nothing new."""
    known = ledger.find_same_bytes(batch, file.kinds)
    return known if known and known.rows_in and file.kinds[0] not in _OBSERVING else None


class _Hashing:
    """The hash of a file, which a second thread takes while this one reads the file."""

    def __init__(self, ledger: Ledger, file: LandedFile, batch: Batch) -> None:
        self._ledger = ledger
        self._file = file
        self._batch = batch
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._hash = self._pool.submit(hash_file, file.path)

    def __enter__(self) -> _Hashing:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def batch(self) -> Batch:
        """The batch with the hash of its file, once that is there.

        Raises:
            RefusedError: not_regular_file.
            UnsettledFileError: the file cannot be opened.
        """
        try:
            return replace(self._batch, file_sha256=self._hash.result()).identified()
        except OSError as error:
            raise UnsettledFileError(self._file.name) from error

    @cached_property
    def is_needless(self) -> bool:
        """Whether the ledger has these bytes, so that reading them would tell nothing."""
        batch = self.batch()
        known = self._ledger.find_same_file(batch) or _same_bytes(self._ledger, self._file, batch)
        return known is not None

    def stops_reading(self) -> bool:
        """Whether it has turned out by now that the file need not be read."""
        return self._hash.done() and self.is_needless


def _new_batch(file: LandedFile, runtime: Runtime) -> Batch:
    return Batch(
        source=file.source.name,
        gateway=file.source.gateway_name,
        kind=file.kinds[0],
        file_name=file.name,
        file_sha256=hashlib.sha256(file.name.encode()).hexdigest(),
        loaded_at=runtime.as_of,
        file_size=file.size,
        file_changed_ns=file.changed_ns,
    ).identified()


def _rejected(batch: Batch, refusal: Refusal) -> Batch:
    return replace(
        batch,
        status="rejected",
        reason_code=refusal.code,
        reason=refusal.reason,
        codes=refusal.code,
    ).identified()


def _load_again(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    file: LandedFile,
    runtime: Runtime,
    batch: Batch,
    known: Batch,
) -> Batch:
    """The same bytes once more: every row is already known, whatever became of it."""
    batch = replace(
        batch,
        kind=known.kind,
        status="already_known",
        rows_in=known.rows_in,
        rows_already_known=known.rows_in,
        reason=f"the same bytes as {known.file_name}",
    ).identified()
    ledger.write(batch)
    return evidence.scrub(connection, ledger, file, runtime, batch)


def _load_content(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    file: LandedFile,
    runtime: Runtime,
    batch: Batch,
    reading: _Reading,
) -> Batch:
    if file.kinds[0] == PRICE_CATALOG:
        return load_prices.load_catalog(connection, ledger, file, runtime, batch)
    if file.kinds[0] in OBSERVED_KINDS:
        return load_observed.load_observed(connection, ledger, file, runtime, batch)
    kind = reading.stage()
    file.refuse_change()
    batch = replace(batch, kind=kind.name).identified()
    return _commit(connection, ledger, kind, reading, batch)


def _observed_at(runtime: Runtime, name: str, batch: Batch) -> datetime:
    stated = stated_observation(name, None)
    return stated or first_seen(runtime.landing, batch.file_sha256, runtime.as_of)


class _RefusedWholeError(RefusedError):
    """A file that holds nothing but things refused whole, with the invoices among them."""

    def __init__(self, refusal: Refusal, invoices: tuple[RefusedInvoice, ...]) -> None:
        super().__init__(refusal.code, refusal.reason, refusal.field)
        self.invoices = invoices


class _NeedlessError(Exception):
    """The file that is read turns out to be one the ledger has."""


class _Reading:
    """One file's rows on their way into temporary tables."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        file: LandedFile,
        runtime: Runtime,
        hashing: _Hashing,
        progress: Progress,
    ) -> None:
        self.connection = connection
        self.file = file
        self.runtime = runtime
        self.hashing = hashing
        self.progress = progress
        self.mapping = mapping_of(runtime, file.source)
        self.rows_in = 0
        self.quarantined: list[Quarantined] = []
        self.has_required = False
        self.columns: list[str] | None = None
        self.typed: dict[str, TypedColumn | None] | None = None
        self.intervals: list[_Interval] = []
        self.refused_invoices: tuple[RefusedInvoice, ...] = ()
        self.kind: FileKind | None = None
        self.refused: RefusedError | None = None

    @cached_property
    def context(self) -> RecordContext:
        """What reading a row depends on besides the row."""
        runtime, name = self.runtime, self.file.name
        source = self.file.source
        return replace(
            read_context(runtime, source.gateway_name, source=source.name),
            observed_at=cache(lambda: _observed_at(runtime, name, self.hashing.batch())),
            stated_at=stated_observation(name, None),
        )

    def stage_ahead(self) -> None:
        """Stage the file before it is known whether it has to be; a refusal waits for stage."""
        try:
            self.kind = self._stage()
        except RefusedError as error:
            self.refused = error
        except _NeedlessError:
            pass

    def stage(self) -> FileKind:
        """Parse the file into `incoming_<table>`, and say which kind it turned out to be.

        Raises:
            RefusedError: a file code.
        """
        if self.refused is not None:
            raise self.refused
        if self.kind is None:
            self.kind = self._stage()
        return self.kind

    def _stage(self) -> FileKind:
        kind = self._kind_of_lines()
        if kind is not None:
            self._create_incoming(kind)
            self._stage_lines(kind)
        else:
            kind = self._stage_file()
            self._refuse_overlaps(kind)
        if self.rows_in and not self.has_required and not self._all_unreadable():
            raise RefusedError(
                "schema_mismatch",
                f"no row has the fields {', '.join(kind.required)} of {kind.name}",
            )
        self._refuse_whole(kind)
        return kind

    def _kind_of_lines(self) -> FileKind | None:
        """The kind of a file that SQL can read the lines of; None for every other file."""
        if self.file.size < LINES_FROM_BYTES or "litellm_spend_logs" not in self.file.kinds:
            return None
        self.typed = typed_columns(self.file)
        fields = self.typed or first_row(self.file, self.runtime.settings.limits)
        kind = None if fields is None else self._kind_with(fields)
        if kind is None or kind.name != "litellm_spend_logs":
            return None
        return None if self.file.format == "parquet" and kind.missing(fields or ()) else kind

    def _stage_file(self) -> FileKind:
        rows = read_rows(
            self.file,
            self.runtime.settings.limits,
            columns_found=self._hear_columns,
            unpack=None if self.mapping is None else self.mapping.unpack,
            default_format=(self.mapping and self.mapping.format) or "",
        )
        head = _up_to_first_readable(rows)
        kind = self._recognise(head)
        self._create_incoming(kind)
        self._stage_rows(kind, self._expanded(kind, itertools.chain(head, rows)))
        return kind

    def _expanded(self, kind: FileKind, rows: Iterable[Row]) -> Iterable[Row]:
        """The rows a kind reads; for most kinds those of the file."""
        if kind.expand is None:
            return rows
        expansion = kind.expand(
            (Part(row.line, row.value, row.refusal) for row in rows), self.context
        )
        self.refused_invoices = expansion.refused_invoices
        return (Row(part.line, part.value, part.refusal) for part in expansion.parts)

    def _refuse_whole(self, kind: FileKind) -> None:
        """Nothing, unless the file holds nothing but things that are refused whole.

        Raises:
            RefusedError: with the code of the first.
        """
        if not self.quarantined or len(self.quarantined) < self.rows_in:
            return
        if kind.expand is not None or all(
            each.refusal.code in WHOLE_CODES for each in self.quarantined
        ):
            raise _RefusedWholeError(self.quarantined[0].refusal, self.refused_invoices)

    def _create_incoming(self, kind: FileKind) -> None:
        for table in (kind.table, *kind.children):
            staged.create_incoming(self.connection, table)

    def _hear_columns(self, names: list[str]) -> None:
        """Take note of a table's columns.

        Raises:
            RefusedError: missing_columns.
        """
        kind = self._kind_with(names)
        missing = kind.missing(names)
        if missing:
            raise RefusedError("missing_columns", f"no column {', '.join(missing)}")
        self.columns = names

    def _recognise(self, head: list[Row]) -> FileKind:
        value = head[-1].value if head else None
        return self._kind_with(self.columns or (value if isinstance(value, dict) else ()))

    def _kind_with(self, fields: Collection[str]) -> FileKind:
        name = recognise(self.file.kinds, fields)
        if name not in ROW_KINDS:
            raise RefusedError("schema_mismatch", f"kind {name} is not read by this version")
        kind = ROW_KINDS[name].mapped_by(self.mapping)
        if kind.is_mapped and kind.mapping is None:
            raise RefusedError(
                "schema_mismatch",
                f"no mapping says which field is which; give source {self.file.source.name} "
                "`mapping:` or `preset:` in tollbook.yml",
            )
        return kind

    def _all_unreadable(self) -> bool:
        return all(q.refusal.code in _UNREADABLE for q in self.quarantined) and (
            len(self.quarantined) == self.rows_in
        )

    def _stage_lines(self, kind: FileKind) -> None:
        """Stage lines: what is beyond doubt by SQL, every other line by the strict reader."""
        reader = SpendLogLines(self.connection, self.context, self.typed)
        for blocks in _read_ahead(_grouped(self._line_blocks())):
            others = reader.stage(blocks)
            self.rows_in += sum(block.count for block in blocks) - len(others)
            self.has_required = self.has_required or self.rows_in > 0
            self._stage_rows(kind, (row for row in others if row is not None))
            self._say_progress()

    def _line_blocks(self) -> Iterator[LineBlock]:
        limits = self.runtime.settings.limits
        if self.typed is None:
            return read_line_blocks(self.file, limits)
        return read_parquet_blocks(self.file, limits)

    def _say_progress(self) -> None:
        if self.hashing.stops_reading():
            raise _NeedlessError
        self.progress(f"load {shown(self.file.name, 200)}: {self.rows_in:,} rows read")

    def _stage_rows(self, kind: FileKind, rows: Iterable[Row]) -> None:
        chunk: list[tuple[int, Record]] = []
        for row in rows:
            self.rows_in += 1
            record = self._read(kind, row)
            if record is None:
                continue
            chunk.append((row.line, record))
            if len(chunk) >= CHUNK_ROWS:
                self._hand_over(kind, chunk)
                self._say_progress()
        self._hand_over(kind, chunk)

    def _read(self, kind: FileKind, row: Row) -> Record | None:
        refusal = row.refusal
        value = row.value
        if isinstance(value, dict):
            self.has_required = self.has_required or kind.resembles(value)
        elif refusal is None:
            refusal = Refusal("not_object", "", "expected an object of fields")
        if refusal is None:
            try:
                record = kind.read(value, self.context)
            except RefusedError as error:
                refusal = error.refusal
            else:
                self._note_validity(kind, row, record)
                return record
        self.quarantined.append(_quarantined(kind, row, refusal, self.context))
        return None

    def _note_validity(self, kind: FileKind, row: Row, record: Record) -> None:
        interval = kind.validity(record) if kind.validity is not None else None
        if interval is not None:
            key, valid_from, valid_to = interval
            self.intervals.append((key, valid_from, valid_to, row))

    def _refuse_overlaps(self, kind: FileKind) -> None:
        """Refuse every row whose validity overlaps that of another row of its key."""
        refused: dict[int, Quarantined] = {}
        by_key = itertools.groupby(
            sorted(self.intervals, key=lambda each: (repr(each[0]), each[1], each[3].line)),
            key=lambda each: repr(each[0]),
        )
        for _, group in by_key:
            for (_, _, end, row), (_, start, _, other) in _reaching_pairs(list(group)):
                for one, its_other in ((row, other), (other, row)):
                    reason = f"valid until {end}, the other from {start}: lines {row.line} and "
                    refusal = Refusal("overlapping_validity", "", f"{reason}{other.line}")
                    kept = _quarantined(kind, one, refusal, self.context)
                    refused.setdefault(one.line, _not_alone(kept, its_other))
        if refused:
            staged.forget_incoming(self.connection, kind, refused)
            self.quarantined.extend(refused[line] for line in sorted(refused))

    def _hand_over(self, kind: FileKind, chunk: list[tuple[int, Record]]) -> None:
        if not chunk:
            return
        rows = [(line, record.values) for line, record in chunk]
        codes = [record.codes for _, record in chunk]
        staged.insert_incoming(self.connection, kind.table, rows, codes)
        for child in kind.children:
            parts = [
                (line, part)
                for line, record in chunk
                for part in record.children.get(child.name, ())
            ]
            if parts:
                staged.insert_incoming(self.connection, child, parts)
        chunk.clear()


_Interval = tuple[tuple[Any, ...], date, date, Row]


def _reaching_pairs(intervals: list[_Interval]) -> Iterator[tuple[_Interval, _Interval]]:
    """Pairs of one key of which the first, by its start, reaches into the second."""
    longest = intervals[0]
    for interval in intervals[1:]:
        # The same row once more is already known, not a contradiction.
        if interval[1] < longest[2] and interval[3].value != longest[3].value:
            yield longest, interval
        longest = max(longest, interval, key=lambda each: each[2])


def _not_alone(row: Quarantined, other: Row) -> Quarantined:
    """The refused row, marked as one that a second look by itself must not accept."""
    fields = json.loads(row.fields)
    fields[NOT_KEPT] = [f"line {other.line}"]
    return replace(row, fields=json.dumps(fields, sort_keys=True))


_UNREADABLE = frozenset(
    {
        "invalid_json",
        "not_object",
        "duplicate_json_key",
        "bad_encoding",
        "line_too_long",
        "column_count",
    }
)


def _up_to_first_readable(rows: Iterator[Row]) -> list[Row]:
    """The rows up to the first that is an object: what the file is shows in that one."""
    head: list[Row] = []
    for row in rows:
        head.append(row)
        if isinstance(row.value, dict):
            break
    return head


def _quarantined(kind: FileKind, row: Row, refusal: Refusal, context: RecordContext) -> Quarantined:
    """The refused row by its allow-listed fields; its content stays behind as a hash."""
    return Quarantined(
        line_number=row.line,
        refusal=refusal,
        row_sha256=row.sha256(),
        fields=kept_fields(kind, row.value, context),
    )


def _commit(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    kind: FileKind,
    reading: _Reading,
    batch: Batch,
) -> Batch:
    connection.execute("begin")
    try:
        loaded, low, high = staged.insert_new_rows(connection, kind, batch)
        staged.add_codes(connection, kind, _cross_row_codes(connection, kind))
        codes, flagged = staged.count_codes(connection, kind)
        if not reading.rows_in:
            codes["empty_file"] += 1
        quarantined = len(reading.quarantined)
        batch = replace(
            batch,
            status="loaded",
            rows_in=reading.rows_in,
            rows_loaded=loaded,
            rows_already_known=reading.rows_in - quarantined - loaded,
            rows_quarantined=quarantined,
            rows_flagged=flagged,
            codes=_code_list(codes, reading.quarantined),
            reason=_note(codes),
            min_event_at=low,
            max_event_at=high,
        )
        ledger.insert(batch)
        ledger.insert_quarantine(batch, reading.quarantined)
        ledger.insert_refused_invoices(batch, reading.refused_invoices)
        if quarantined and (kind.lay_out is not None or kind.expand is not None):
            # Exceptions list refused payments and invoices, so these change the marts too.
            staged.note_touched(connection, kind.table.name, batch.loaded_at.date())
        staged.insert_flags(connection, kind, batch)
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    return batch


def _code_list(codes: Counter[str], quarantined: list[Quarantined]) -> str:
    return ",".join(sorted({*codes, *(each.refusal.code for each in quarantined)}))


def _note(codes: Counter[str]) -> str | None:
    notes = ((code, count) for code, count in sorted(codes.items()) if code in FILE_NOTE_CODES)
    return ", ".join(f"{code} {count}" for code, count in notes) or None


def _grouped(blocks: Iterable[LineBlock]) -> Iterator[list[LineBlock]]:
    """Blocks together, so many that a statement over them is worth its planning."""
    group: list[LineBlock] = []
    rows, size, enough = 0, 0, min(FIRST_CHUNK_BYTES, CHUNK_BYTES)
    for block in blocks:
        group.append(block)
        rows += block.lines.num_rows
        size += block.lines.nbytes
        is_whole = enough < CHUNK_BYTES or rows > _ROW_GROUP or size > 1.5 * CHUNK_BYTES
        if size >= enough and is_whole:
            yield group
            group, rows, size, enough = [], 0, 0, CHUNK_BYTES
    if group:
        yield group


def _read_ahead(groups: Iterator[list[LineBlock]]) -> Iterator[list[LineBlock]]:
    """The same groups, the next of which is read while the caller works on one."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(next, groups, None)
        while (group := coming.result()) is not None:
            coming = pool.submit(next, groups, None)
            yield group


def _cross_row_codes(
    connection: duckdb.DuckDBPyConnection, kind: FileKind
) -> list[tuple[int, str]]:
    """Codes that only several rows of one file together show."""
    if kind.name != "litellm_spend_logs":
        return []
    # One call that two of LiteLLM's handlers logged, each under its own call type (issue 15740).
    call = "api_key_id, model, prompt_tokens, completion_tokens, started_at, session_id"
    doubled = connection.execute(f"""
        select unnest(list(_source_line))
        from incoming_litellm__spend_logs
        where hash({call}) in (
            select hash({call})
            from incoming_litellm__spend_logs
            where (prompt_tokens > 0 or completion_tokens > 0)
                and not coalesce(cache_hit, false)
            group by all
            having count(*) > 1
        )
            and (prompt_tokens > 0 or completion_tokens > 0)
            and not coalesce(cache_hit, false)
        group by {call}
        having count(distinct request_id) > 1 and count(distinct call_type) > 1
        """).fetchall()
    conflicting = connection.execute("""
        select k._source_line
        from (
            select
                *,
                first_value(_row_hash) over earlier as first_hash,
                first_value(source_version_at) over earlier as first_version_at,
                first_value(started_at) over earlier as first_started_at,
                first_value(api_key_id) over earlier as first_key_id
            from incoming_litellm__spend_logs
            where hash(request_id) in (
                select hash(request_id)
                from incoming_litellm__spend_logs
                group by all
                having min(_row_hash) <> max(_row_hash)
            )
            window earlier as (partition by request_id order by _source_line)
        ) as k
        where
            k._row_hash <> k.first_hash
            and not (
                k.started_at = k.first_started_at
                and k.api_key_id is not distinct from k.first_key_id
                and k.source_version_at is distinct from k.first_version_at
            )
        """).fetchall()
    return [(line, "suspected_double_log") for (line,) in doubled] + [
        (line, "duplicate_conflict") for (line,) in conflicting
    ]
