"""API pages and cloud bills into raw: their rows once, and every observation of a window."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import duckdb

from orchestration.config import Runtime
from orchestration.core.refusals import FILE_NOTE_CODES, Refusal, RefusedError
from orchestration.landing.files import LandedFile
from orchestration.landing.kinds import ROW_KINDS, FileKind
from orchestration.landing.observed import first_seen, stated_observation
from orchestration.landing.pages import (
    PAGE_KINDS,
    Window,
    bill_chain_of,
    chain_of,
    recognise_page,
    unfold,
    unfold_cost_export,
)
from orchestration.landing.rows import Row, read_document_of, read_rows
from orchestration.sources.cloud_bills import BILL_KINDS, BillKind, Period, period_of
from orchestration.sources.openai_pages import EXPORT_COLUMNS
from orchestration.sources.records import Record, RecordContext
from orchestration.warehouse import staged
from orchestration.warehouse.ledger import Batch, Ledger, Quarantined
from orchestration.warehouse.retry import kept_fields, read_context
from orchestration.warehouse.schema import OBSERVATIONS

# Rows parsed before they are handed to DuckDB.
CHUNK_ROWS = 20_000


@dataclass(slots=True)
class _Observed:
    """What one file says.

    Attributes:
        scope: Endpoint of a page; a bill's windows carry their billing account instead.
        windows: (scope, window) of every bucket or billing period on it.
    """

    kind: FileKind
    has_more: bool = False
    is_empty: bool = False
    rows_in: int = 0
    quarantined: list[Quarantined] = field(default_factory=list)
    windows: list[tuple[str | None, Window]] = field(default_factory=list)


@dataclass(slots=True)
class _Stated:
    """The rows of a billing period on one file: how many, and between which moments."""

    rows: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add(self, moment: datetime | None) -> None:
        """Count a row; a line that is about a whole period may have no moment."""
        self.rows += 1
        self._widen(moment)

    def take(self, other: _Stated) -> None:
        """Count the rows of another statement."""
        self.rows += other.rows
        self._widen(other.first_at)
        self._widen(other.last_at)

    def _widen(self, moment: datetime | None) -> None:
        if moment is not None:
            self.first_at = min(moment, self.first_at or moment)
            self.last_at = max(moment, self.last_at or moment)


def load_observed(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    file: LandedFile,
    runtime: Runtime,
    batch: Batch,
) -> Batch:
    """Load one page of an API, or one cloud bill, and note which windows it observed.

    Rows are stored once for each distinct content of their bucket, or of their bill. The same
    bytes under another name bring no row and are an observation all the same: what changed and
    changed back is known only from both.

    Raises:
        RefusedError: a file code.
    """
    context = read_context(runtime, file.source.gateway_name, source=file.source.name)
    if file.kinds[0] in PAGE_KINDS:
        found = _read_page(connection, file, runtime, context)
    else:
        found = _read_bill(connection, file, runtime, context, batch.file_sha256)
    file.refuse_change()
    observed_at = stated_observation(file.name, None) or first_seen(
        runtime.landing, batch.file_sha256, runtime.as_of
    )
    batch = replace(batch, kind=found.kind.name, observed_at=observed_at).identified()
    _stage_observations(connection, found, batch)
    return _commit(connection, ledger, found, batch)


# ---------------------------------------------------------------- pages


def _read_page(
    connection: duckdb.DuckDBPyConnection,
    file: LandedFile,
    runtime: Runtime,
    context: RecordContext,
) -> _Observed:
    if file.format == "csv" and "openai_costs" in file.kinds:
        return _read_cost_export(connection, file, runtime, context)
    if file.format in ("csv", "parquet", ""):
        instead = (
            "; of OpenAI's console only the cost export is read, as openai_costs"
            if file.kinds[0] == "openai_usage"
            else ""
        )
        raise RefusedError("not_a_page", f"expected a page as JSON, as the API returns it{instead}")
    document = read_document_of(file, runtime.settings.limits)
    if document is None:
        found = _Observed(ROW_KINDS[file.kinds[0]], is_empty=True)
        _create_incoming(connection, found.kind)
        return found
    kind = ROW_KINDS[recognise_page(document, file.kinds, file.name)]
    page = unfold(document, kind.name, file.name)
    found = _Observed(kind, has_more=page.has_more)
    found.windows = [(page.endpoint, window) for window in page.windows]
    _create_incoming(connection, kind)
    for chunk in _chunks(_read_rows(page.rows, found, context)):
        _hand_over(connection, kind, chunk)
    return found


def _read_cost_export(
    connection: duckdb.DuckDBPyConnection,
    file: LandedFile,
    runtime: Runtime,
    context: RecordContext,
) -> _Observed:
    """The cost export that people download from OpenAI's console."""

    def refuse_other(names: list[str]) -> None:
        missing = [name for name in EXPORT_COLUMNS if name not in names]
        if missing:
            raise RefusedError(
                "not_a_page",
                f"no column {', '.join(missing)}: of OpenAI's console only the cost export is "
                "read; land that, or pages as the API returns them",
            )

    found = _Observed(ROW_KINDS["openai_costs"])
    _create_incoming(connection, found.kind)
    page = unfold_cost_export(read_rows(file, runtime.settings.limits, columns_found=refuse_other))
    found.is_empty = not page.rows and not page.windows
    found.windows = [(page.endpoint, window) for window in page.windows]
    for chunk in _chunks(_read_rows(page.rows, found, context)):
        _hand_over(connection, found.kind, chunk)
    return found


# ---------------------------------------------------------------- bills


def _read_bill(
    connection: duckdb.DuckDBPyConnection,
    file: LandedFile,
    runtime: Runtime,
    context: RecordContext,
    file_sha256: str,
) -> _Observed:
    kind = ROW_KINDS[file.kinds[0]]
    bill = BILL_KINDS[kind.name]
    found = _Observed(kind)
    _create_incoming(connection, kind)

    def refuse_missing(names: list[str]) -> None:
        missing = bill.missing(names)
        if missing:
            raise RefusedError("missing_columns", f"no column {', '.join(missing)}")

    rows = read_rows(file, runtime.settings.limits, columns_found=refuse_missing)
    counted: Counter[str] = Counter()
    periods: dict[Period, _Stated] = {}
    placed = _place(rows, bill, file_sha256, counted)
    for chunk in _chunks(_read_rows(placed, found, context)):
        for _, record in chunk:
            period = period_of(record)
            if period is not None and bill.is_replaced:
                moment = record.values.get(kind.table.event_at)
                periods.setdefault(period, _Stated()).add(moment)
        _hand_over(connection, kind, chunk)
    found.is_empty = not found.rows_in
    if found.rows_in and not counted["readable"] and counted["objects"]:
        listed = ", ".join(names[0] for names in bill.required)
        raise RefusedError("schema_mismatch", f"no row has the fields {listed} of {kind.name}")
    found.windows = _bill_windows(periods, file_sha256)
    return found


def _place(
    rows: Iterable[Row], bill: BillKind, file_sha256: str, counted: Counter[str]
) -> Iterator[Row]:
    """Rows by our names, with what tells equal ones of one bill apart."""
    copies: Counter[str] = Counter()
    for row in rows:
        if row.refusal is not None or not isinstance(row.value, dict):
            yield row
            continue
        counted["objects"] += 1
        try:
            value = bill.flatten(row.value)
        except RefusedError as error:
            yield Row(row.line, None, error.refusal, row.content)
            continue
        counted["readable"] += not bill.missing(list(row.value))
        if bill.is_replaced:
            value |= {"content_sha256": file_sha256, "row_number": row.line}
        else:
            # Equal rows of one export are as many charges; those of two exports are the same.
            content = bill.content_sha256(row.value)
            copies[content] += 1
            value |= {"content_sha256": content, "occurrence": copies[content]}
        yield Row(row.line, value, None, row.content)


def _bill_windows(
    periods: dict[Period, _Stated], file_sha256: str
) -> list[tuple[str | None, Window]]:
    """One window per account and start; rows of one period may leave its end out."""
    ends: dict[tuple[str, datetime], datetime | None] = {}
    stated: dict[tuple[str, datetime], _Stated] = {}
    for period, rows in periods.items():
        place = (period.billing_account_id, period.start_at)
        known = [end for end in (ends.get(place), period.end_at) if end is not None]
        ends[place] = max(known, default=None)
        stated.setdefault(place, _Stated()).take(rows)
    return [
        (
            place[0],
            Window(
                place[1],
                end,
                file_sha256,
                stated[place].rows,
                stated[place].first_at,
                stated[place].last_at,
            ),
        )
        for place, end in sorted(ends.items(), key=lambda item: item[0])
    ]


# ---------------------------------------------------------------- what they share


def _create_incoming(connection: duckdb.DuckDBPyConnection, kind: FileKind) -> None:
    for table in (kind.table, *kind.children):
        staged.create_incoming(connection, table)


def _read_rows(
    rows: Iterable[Row], found: _Observed, context: RecordContext
) -> Iterator[tuple[int, Record]]:
    for row in rows:
        found.rows_in += 1
        refusal = row.refusal
        if refusal is None and not isinstance(row.value, dict):
            refusal = Refusal("not_object", "", "expected an object of fields")
        if refusal is None:
            try:
                yield row.line, found.kind.read(row.value, context)
                continue
            except RefusedError as error:
                refusal = error.refusal
        found.quarantined.append(
            Quarantined(
                line_number=row.line,
                refusal=refusal,
                row_sha256=row.sha256(),
                fields=kept_fields(found.kind, row.value, context),
            )
        )


def _chunks(
    records: Iterator[tuple[int, Record]],
) -> Iterator[Sequence[tuple[int, Record]]]:
    while chunk := list(itertools.islice(records, CHUNK_ROWS)):
        yield chunk


def _hand_over(
    connection: duckdb.DuckDBPyConnection, kind: FileKind, chunk: Sequence[tuple[int, Record]]
) -> None:
    rows = [(line, record.values) for line, record in chunk]
    codes = [record.codes for _, record in chunk]
    staged.insert_incoming(connection, kind.table, rows, codes)
    for child in kind.children:
        parts = [
            (line, part) for line, record in chunk for part in record.children.get(child.name, ())
        ]
        if parts:
            staged.insert_incoming(connection, child, parts)


def _stage_observations(
    connection: duckdb.DuckDBPyConnection, found: _Observed, batch: Batch
) -> None:
    name_of = bill_chain_of if found.kind.name in BILL_KINDS else chain_of
    chain, page_number = name_of(batch.file_name)
    staged.create_incoming(connection, OBSERVATIONS)
    rows: list[tuple[int, dict[str, Any]]] = [
        (
            number,
            {
                "kind": found.kind.name,
                "scope": scope,
                "chain": chain,
                "page_number": page_number,
                "has_more": found.has_more,
                "page_sha256": batch.file_sha256,
                "window_start_at": window.start_at,
                "window_end_at": window.end_at,
                "content_sha256": window.content_sha256,
                "window_rows": window.rows,
                "first_row_at": window.first_row_at,
                "last_row_at": window.last_row_at,
                "observed_at": batch.observed_at,
            },
        )
        for number, (scope, window) in enumerate(found.windows, 1)
    ]
    if rows:
        staged.insert_incoming(connection, OBSERVATIONS, rows)


def _commit(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, found: _Observed, batch: Batch
) -> Batch:
    kind = found.kind
    known = ledger.find_same_bytes(batch, (kind.name,))
    connection.execute("begin")
    try:
        if known is not None and known.rows_in:
            batch = replace(
                batch,
                status="already_known",
                rows_in=known.rows_in,
                rows_already_known=known.rows_in,
                reason=f"the same bytes as {known.file_name}",
            )
        else:
            batch = _insert_rows(connection, found, batch)
        staged.append_all(connection, OBSERVATIONS, batch)
        ledger.insert(batch)
        if batch.status == "loaded":
            ledger.insert_quarantine(batch, found.quarantined)
            staged.insert_flags(connection, kind, batch)
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    return batch


def _insert_rows(connection: duckdb.DuckDBPyConnection, found: _Observed, batch: Batch) -> Batch:
    loaded, low, high = staged.insert_new_rows(connection, found.kind, batch)
    codes, flagged = staged.count_codes(connection, found.kind)
    if found.is_empty:
        codes["empty_file"] += 1
    refused = len(found.quarantined)
    notes = ", ".join(
        f"{code} {count}" for code, count in sorted(codes.items()) if code in FILE_NOTE_CODES
    )
    return replace(
        batch,
        rows_in=found.rows_in,
        rows_loaded=loaded,
        rows_already_known=found.rows_in - refused - loaded,
        rows_quarantined=refused,
        rows_flagged=flagged,
        codes=",".join(sorted({*codes, *(each.refusal.code for each in found.quarantined)})),
        reason=notes or None,
        min_event_at=low,
        max_event_at=high,
    )
