"""What the warehouse tells people: whether there is news, how things stand, and their own SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import duckdb

from orchestration.config import Runtime
from orchestration.landing.files import list_landing
from orchestration.warehouse.connection import open_reader, open_warehouse
from orchestration.warehouse.ledger import Ledger
from orchestration.warehouse.transform import (
    OWNER_FINGERPRINT,
    inputs_fingerprint,
    owner_seeds_fingerprint,
    read_state,
)

if TYPE_CHECKING:
    from orchestration.config import SourceSettings

# The same name as publish.LINK; that module would bring the loader with it.
PUBLISHED_FILE = "tollbook.duckdb"
# How far back a summary looks from the newest usage: a whole month, whichever it is.
SUMMARY_DAYS = 31
# Causes of a variance that a summary names.
CAUSES_SHOWN = 5
_FETCHED_ROWS = 10_000
_QUERIES = frozenset({"SELECT", "EXPLAIN", "MULTI", "PRAGMA", "CALL"})


class NotPublishedError(RuntimeError):
    """No run has published yet; said in one line."""


class QueryRefusedError(ValueError):
    """A query that was not answered, with the reason in one line."""


# ---------------------------------------------------------------- is there anything to do


def has_news(runtime: Runtime, *, record: bool = False) -> str | None:
    """Why a run would change anything, in words; None when it would not.

    Costs a directory listing and a few reads of the ledger; nothing heavy is imported.

    Args:
        record: Whether the answer `nothing` is written to audit.runs.

    Raises:
        WarehouseBusyError: another process writes the warehouse.
    """
    if not runtime.database.is_file():
        return "there is no warehouse yet"
    started_at, begun = _now(), monotonic()
    with open_warehouse(runtime) as connection:
        try:
            reason = _news(connection, runtime)
        except duckdb.CatalogException:
            return "the warehouse was never set up to its end"
        if reason is None and record:
            _record_nothing(connection, started_at, begun)
    return reason


def _now() -> datetime:
    # A run's own times are wall-clock; what marts depend on is as_of.
    return datetime.now(UTC).replace(tzinfo=None)


def _news(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> str | None:
    ledger = Ledger(connection)
    lost = ledger.missing_batches(runtime.home)
    if lost:
        return f"the warehouse has lost {lost} load batches"
    files = _new_files(ledger, runtime)
    if files:
        return _said(files)
    if connection.execute(
        "select 1 from audit.touched_days union all "
        "select 1 from audit.pending_days where consumer = 'build' limit 1"
    ).fetchall():
        return "days of loaded usage are not built yet"
    fingerprints = (
        ("fingerprint", inputs_fingerprint(runtime)),
        (OWNER_FINGERPRINT, owner_seeds_fingerprint(runtime)),
    )
    if any(read_state(connection, name) != now for name, now in fingerprints):
        return "settings, seeds, models or engine changed"
    if _known_sources(connection) != _configured_sources(runtime.settings.sources):
        return "the sources of tollbook.yml changed"
    return _unpublished(connection, runtime) or _due(connection, runtime.as_of)


def _new_files(ledger: Ledger, runtime: Runtime) -> list[str]:
    listing = list_landing(runtime.landing, runtime.settings.sources, is_known=ledger.is_known)
    return [file.name for file in listing.files]


def _said(files: Sequence[str]) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"new in landing: {files[0]}{more}"


def new_files(runtime: Runtime) -> list[str]:
    """Files of the landing folder that no run has loaded.

    Raises:
        WarehouseBusyError: another process writes the warehouse.
    """
    if not runtime.database.is_file():
        listing = list_landing(
            runtime.landing, runtime.settings.sources, is_known=lambda *_file: False
        )
        return [file.name for file in listing.files]
    with open_warehouse(runtime) as connection:
        return _new_files(Ledger(connection), runtime)


def has_sync_news(runtime: Runtime) -> str | None:
    """Why a sync would change anything, in words; None when it would not, which is recorded.

    Raises:
        WarehouseBusyError: another process writes the warehouse.
    """
    if not runtime.database.is_file():
        return "there is no warehouse yet"
    started_at, begun = _now(), monotonic()
    with open_warehouse(runtime) as connection:
        try:
            ledger = Ledger(connection)
            files = _new_files(ledger, runtime)
            if files or ledger.missing_batches(runtime.home):
                return _said(files) if files else "the warehouse has lost load batches"
            if connection.execute(
                "select 1 from audit.touched_days "
                "where table_name in ('litellm__spend_logs', 'gateway__usage') limit 1"
            ).fetchall():
                return "days of loaded usage are not built yet"
            reason = _unpublished(connection, runtime)
        except duckdb.CatalogException:
            return "the warehouse was never set up to its end"
        if reason is None:
            _record_nothing(connection, started_at, begun)
    return reason


def _record_nothing(
    connection: duckdb.DuckDBPyConnection, started_at: datetime, begun: float
) -> None:
    connection.execute(
        "insert into audit.runs values (?, 'run', ?, ?, 0, 'nothing_new')",
        [f"quick-{started_at:%Y%m%dT%H%M%S%f}", started_at, round(monotonic() - begun, 3)],
    )


def _known_sources(connection: duckdb.DuckDBPyConnection) -> set[tuple[Any, ...]]:
    return set(
        connection.execute(
            "select source, kind, gateway, expected_interval_minutes from reference.sources"
        ).fetchall()
    )


def _configured_sources(sources: Sequence[SourceSettings]) -> set[tuple[Any, ...]]:
    return {(source.name, source.kind, source.gateway_name, _minutes(source)) for source in sources}


def _minutes(source: SourceSettings) -> int | None:
    interval = source.expected_interval
    return None if interval is None else int(interval.total_seconds() // 60)


def _unpublished(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> str | None:
    if not (runtime.published / PUBLISHED_FILE).exists():
        return "nothing is published yet"
    built_at, published_at = connection.execute("""
        select
            max(started_at) filter (step in ('build', 'check')),
            max(started_at) filter (step = 'publish' and status = 'done')
        from audit.runs
        """).fetchall()[0]
    if built_at is not None and (published_at is None or published_at < built_at):
        return "the last build was not published"
    return None


def _due(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> str | None:
    last = read_state(connection, "as_of")
    if last is not None and as_of < datetime.fromisoformat(last):
        return f"the clock was set back from {last}Z"
    due = read_state(connection, "next_due_at")
    if due is not None and as_of >= datetime.fromisoformat(due):
        return f"something was due at {due}Z"
    return None


# ---------------------------------------------------------------- the published file


def published_file(runtime: Runtime) -> Path:
    """The file readers use.

    Raises:
        NotPublishedError: there is none yet.
    """
    path = runtime.published / PUBLISHED_FILE
    if not path.exists():
        raise NotPublishedError(
            f"{path}: nothing is published yet; `tollbook run` loads, checks and publishes"
        )
    return path


def published_version(runtime: Runtime) -> tuple[int, datetime] | None:
    """Number of the published version and when it was written, UTC; None before the first."""
    path = runtime.published / PUBLISHED_FILE
    if not path.exists():
        return None
    target = path.resolve()
    written = datetime.fromtimestamp(target.stat().st_mtime, UTC).replace(tzinfo=None)
    return int(target.stem.rpartition("-")[2] or 0), written


@contextmanager
def _published(runtime: Runtime) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_reader(published_file(runtime)) as connection:
        yield connection


def _tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute(
        "select table_schema || '.' || table_name from information_schema.tables"
    ).fetchall()
    return {name for (name,) in rows}


@dataclass(frozen=True, slots=True)
class Spend:
    """What one provider or team used; costs are sums of what is known, None when nothing is."""

    name: str
    currency: str
    requests: int
    gateway_cost: Decimal | None
    list_cost: Decimal | None
    billed_cost: Decimal | None
    unpriced_requests: int


@dataclass(frozen=True, slots=True)
class OpenExceptions:
    """The exceptions of one type and currency.

    Attributes:
        exceptions: How many are open.
        amount: Sum of the known amounts at stake in the open ones; None when none is known.
        unknown: How many of the open ones have no known amount.
        decided: How many somebody decided, and whose evidence is still what they saw.
    """

    exception_type: str
    severity: str
    is_blocking: bool
    currency: str
    exceptions: int
    amount: Decimal | None
    unknown: int
    decided: int = 0


@dataclass(frozen=True, slots=True)
class Wallet:
    """One wallet's balance as of the run."""

    wallet_id: str
    balance: Decimal | None
    currency: str
    status: str | None
    runway_days: Decimal | None = None


@dataclass(frozen=True, slots=True)
class InvoiceVerdict:
    """How the invoices of one currency compare with usage; amounts in that currency.

    Attributes:
        lines: Lines of invoices and credit notes, and parts of their headers.
        unexplained_lines: Those of which more than invoice_tolerance is unexplained.
        expected: What usage says they should be.
        variance: Invoiced less expected.
        unexplained: Sum of what is unexplained, without regard to sign.
        causes: The largest causes with their amounts, largest first.
    """

    currency: str
    lines: int
    unexplained_lines: int
    invoiced: Decimal
    expected: Decimal
    variance: Decimal
    unexplained: Decimal
    causes: tuple[tuple[str, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures a run ends with; spend covers `first_date` to `last_date`, UTC, inclusive."""

    first_date: date | None
    last_date: date | None
    by_provider: list[Spend]
    by_team: list[Spend]
    wallets: list[Wallet]
    invoices: list[InvoiceVerdict]
    exceptions: list[OpenExceptions]


def read_summary(runtime: Runtime) -> Summary:
    """The published figures of the last SUMMARY_DAYS days of usage.

    Raises:
        NotPublishedError: there is no published file.
    """
    with _published(runtime) as connection:
        tables = _tables(connection)
        first, last = connection.execute(f"""
            select
                greatest(min(usage_date), cast(max(usage_date) - {SUMMARY_DAYS - 1} as date)),
                max(usage_date)
            from marts.daily_spend
            """).fetchall()[0]
        return Summary(
            first_date=first,
            last_date=last,
            by_provider=_spend(connection, "provider", first),
            by_team=_spend(connection, "team_id", first),
            wallets=_wallets(connection, tables),
            invoices=_invoices(connection, tables, runtime),
            exceptions=_exceptions(connection, tables),
        )


def _spend(connection: duckdb.DuckDBPyConnection, column: str, first: date | None) -> list[Spend]:
    """Spend by one column, the largest cost first; teams go by their name where they have one."""
    if first is None:
        return []
    named = "cast(null as varchar)"
    if column == "team_id":
        named = "(select max(u.team_name) from marts.usage_records as u "
        named += "where u.team_id = d.team_id and u.usage_date >= $first)"
    rows = connection.execute(
        f"""
        select
            coalesce({named}, {column}, '(none)'), currency, cast(sum(requests) as bigint),
            sum(gateway_cost), sum(list_cost), sum(billed_cost),
            cast(sum(unpriced_requests) as bigint)
        from marts.daily_spend as d
        where usage_date >= $first
        group by {column}, currency
        order by coalesce(sum(billed_cost), sum(gateway_cost), 0) desc, 1, 2
        """,
        {"first": first},
    ).fetchall()
    return [Spend(*row) for row in rows]


def _wallets(connection: duckdb.DuckDBPyConnection, tables: set[str]) -> list[Wallet]:
    if "marts.wallet_balances" not in tables:
        return []
    rows = connection.execute(
        "select wallet_id, balance_amount, currency, status, runway_days "
        "from marts.wallet_balances order by 1"
    ).fetchall()
    return [Wallet(*row) for row in rows]


def _invoices(
    connection: duckdb.DuckDBPyConnection, tables: set[str], runtime: Runtime
) -> list[InvoiceVerdict]:
    if "marts.invoice_reconciliation" not in tables:
        return []
    columns = connection.execute("""
        select column_name from information_schema.columns
        where table_schema = 'marts' and table_name = 'invoice_reconciliation'
            and column_name like '%\\_amount' escape '\\'
            and column_name not in ('variance_amount', 'unexplained_amount')
        order by ordinal_position
        """).fetchall()
    causes = [name.removesuffix("_amount") for (name,) in columns]
    sums = "".join(f", coalesce(sum({cause}_amount), 0)" for cause in causes)
    rows = connection.execute(
        f"""
        select
            currency,
            count(*),
            count(*) filter (abs(unexplained_amount) > $tolerance),
            sum(amount_invoiced),
            sum(amount_expected),
            sum(variance_amount),
            sum(abs(unexplained_amount)){sums}
        from marts.invoice_reconciliation
        group by currency
        order by currency
        """,
        {"tolerance": Decimal(str(runtime.settings.quality.invoice_tolerance))},
    ).fetchall()
    return [InvoiceVerdict(*row[:7], causes=_largest(causes, row[7:])) for row in rows]


def _largest(names: list[str], amounts: tuple[Decimal, ...]) -> tuple[tuple[str, Decimal], ...]:
    """What is not 0, the largest first."""
    found = [(name, amount) for name, amount in zip(names, amounts, strict=True) if amount]
    return tuple(sorted(found, key=lambda each: (-abs(each[1]), each[0]))[:CAUSES_SHOWN])


def _exceptions(connection: duckdb.DuckDBPyConnection, tables: set[str]) -> list[OpenExceptions]:
    if "marts.exceptions" not in tables:
        return []
    rows = connection.execute("""
        select
            exception_type,
            min(severity),
            bool_or(blocking),
            currency,
            count(*) filter (status = 'open'),
            sum(amount_at_stake) filter (status = 'open'),
            count(*) filter (status = 'open' and amount_at_stake is null),
            count(*) filter (status = 'decided')
        from marts.exceptions
        group by exception_type, currency
        order by
            bool_or(blocking) desc,
            sum(amount_at_stake) filter (status = 'open') desc nulls last,
            1,
            4
        """).fetchall()
    return [OpenExceptions(*row) for row in rows]


# ---------------------------------------------------------------- status


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How one source stands; a row of marts.source_freshness."""

    source: str
    last_event_at: datetime | None
    last_loaded_at: datetime | None
    lag_minutes: int | None
    rows_loaded: int
    rows_quarantined: int
    rejected_files: int
    status: str


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run: when it began, which steps it took, how long, and how it ended."""

    started_at: datetime
    steps: str
    seconds: Decimal
    status: str


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """One check of the last run that did not hold."""

    check: str
    table: str
    severity: str
    failing_rows: int
    amount: Decimal | None


@dataclass(frozen=True, slots=True)
class PeriodStatus:
    """A month that is open, or the last one an account has closed."""

    account_id: str
    billing_month: str
    status: str
    billed_cost: Decimal | None
    adjustments: Decimal | None
    blocking_exceptions: int
    currency: str


@dataclass(frozen=True, slots=True)
class Status:
    """How the published warehouse stands."""

    version: int
    written_at: datetime
    checked_at: datetime | None
    checks: int
    sources: list[SourceStatus] = field(default_factory=list)
    exceptions: list[OpenExceptions] = field(default_factory=list)
    runs: list[RunStatus] = field(default_factory=list)
    failed_checks: list[FailedCheck] = field(default_factory=list)
    periods: list[PeriodStatus] = field(default_factory=list)

    @property
    def blocking_exceptions(self) -> int:
        """How many open exceptions keep a period from being closed."""
        return sum(each.exceptions for each in self.exceptions if each.is_blocking)


def read_status(runtime: Runtime) -> Status:
    """How sources, exceptions, runs and checks stand, as published.

    Raises:
        NotPublishedError: there is no published file.
    """
    with _published(runtime) as connection:
        tables = _tables(connection)
        version, written_at = published_version(runtime) or (0, _now())
        checks, checked_at = connection.execute(
            "select count(*), max(checked_at) from audit.check_results"
        ).fetchall()[0]
        return Status(
            version=version,
            written_at=written_at,
            checked_at=checked_at,
            checks=checks,
            sources=_sources(connection),
            exceptions=_exceptions(connection, tables),
            runs=_runs(connection),
            failed_checks=_failed_checks(connection),
            periods=_periods(connection, tables),
        )


def _sources(connection: duckdb.DuckDBPyConnection) -> list[SourceStatus]:
    rows = connection.execute("""
        select
            source, last_event_at, last_loaded_at, lag_minutes, rows_loaded, rows_quarantined,
            (
                select count(*) from audit.load_batches as b
                where b.source = s.source and b.status = 'rejected'
            ),
            status
        from marts.source_freshness as s
        order by source
        """).fetchall()
    return [SourceStatus(*row) for row in rows]


def _periods(connection: duckdb.DuckDBPyConnection, tables: set[str]) -> list[PeriodStatus]:
    """Every open month, and the last closed one of each account."""
    if "marts.periods" not in tables:
        return []
    rows = connection.execute("""
        select account_id, billing_month, status, billed_cost, adjustments_amount,
            blocking_exceptions, currency
        from marts.periods
        qualify status = 'open' or row_number() over (
            partition by account_id, status order by billing_month desc
        ) = 1
        order by account_id, billing_month
        """).fetchall()
    return [PeriodStatus(*row) for row in rows]


def _runs(connection: duckdb.DuckDBPyConnection) -> list[RunStatus]:
    rows = connection.execute("""
        select
            min(started_at),
            string_agg(step, ', ' order by started_at),
            sum(seconds),
            case when bool_or(status = 'failed') then 'failed' else max(status) end
        from audit.runs
        group by run
        order by 1 desc
        limit 5
        """).fetchall()
    return [RunStatus(*row) for row in rows]


def _failed_checks(connection: duckdb.DuckDBPyConnection) -> list[FailedCheck]:
    rows = connection.execute("""
        select "check", "table", severity, failing_rows, amount_at_stake
        from audit.check_results
        where not passed
        order by severity, amount_at_stake desc nulls last, failing_rows desc, 1
        """).fetchall()
    return [FailedCheck(*row) for row in rows]


# ---------------------------------------------------------------- quarantine


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A landed file that was rejected as a whole."""

    load_batch_id: str
    source: str
    file_name: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class RefusedRows:
    """The rows of one file that were refused for one reason code.

    Attributes:
        lines: The first few line numbers.
        reason: What the first of them says.
    """

    load_batch_id: str
    source: str
    file_name: str
    code: str
    rows: int
    rows_in: int
    lines: list[int]
    reason: str


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """One refused row with its allow-listed fields as JSON."""

    line_number: int
    code: str
    reason: str
    row_sha256: str
    fields: str


@dataclass(frozen=True, slots=True)
class RefusedBatch:
    """One landed file of which something was refused."""

    load_batch_id: str
    source: str
    kind: str
    file_name: str
    file_sha256: str
    status: str
    code: str | None
    reason: str | None
    rows_in: int
    rows_loaded: int
    rows_already_known: int
    rows_quarantined: int
    loaded_at: datetime


@contextmanager
def open_quarantine(runtime: Runtime) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session that can read audit: the published file, or the pipeline's own before the first.

    Raises:
        NotPublishedError: there is neither.
    """
    if (runtime.published / PUBLISHED_FILE).exists() or not runtime.database.is_file():
        path = published_file(runtime)
    else:
        path = runtime.database
    with open_reader(path) as connection:
        yield connection


def list_refused(
    connection: duckdb.DuckDBPyConnection, *, source: str | None = None, code: str | None = None
) -> tuple[list[RefusedFile], list[RefusedRows]]:
    """Rejected files, and refused rows by file and reason code, in order of loading."""
    files = connection.execute(
        """
        select load_batch_id, source, file_name, reason_code, reason
        from audit.load_batches
        where
            status = 'rejected'
            and ($source is null or source = $source) and ($code is null or reason_code = $code)
        order by batch_number
        """,
        {"source": source, "code": code},
    ).fetchall()
    rows = connection.execute(
        """
        select
            q.load_batch_id, q.source, q.file_name, q.reason_code, count(*),
            coalesce(max(b.rows_in), 0), min(q.line_number, 5), arg_min(q.reason, q.line_number)
        from audit.quarantine as q
        left join audit.load_batches as b on q.load_batch_id = b.load_batch_id
        where
            ($source is null or q.source = $source)
            and ($code is null or q.reason_code = $code)
        group by q.load_batch_id, q.source, q.file_name, q.reason_code
        order by max(b.batch_number), count(*) desc, q.reason_code
        """,
        {"source": source, "code": code},
    ).fetchall()
    return [RefusedFile(*row) for row in files], [RefusedRows(*row) for row in rows]


def find_refused(
    connection: duckdb.DuckDBPyConnection, batch: str, line: int | None = None, *, limit: int = 20
) -> tuple[RefusedBatch, list[RefusedRow]]:
    """One batch by its id or the beginning of it, with its refused rows.

    Raises:
        QueryRefusedError: no such batch or line, or several batches begin so.
    """
    found = connection.execute(
        """
        select
            load_batch_id, source, kind, file_name, file_sha256, status, reason_code, reason,
            rows_in, rows_loaded, rows_already_known, rows_quarantined, loaded_at
        from audit.load_batches
        where starts_with(load_batch_id, $batch)
        order by batch_number
        """,
        {"batch": batch},
    ).fetchall()
    if len(found) != 1:
        what = "no load batch begins" if not found else f"{len(found)} load batches begin"
        raise QueryRefusedError(f"{what} with '{batch}'; `tollbook quarantine list` shows the ids")
    known = RefusedBatch(*found[0])
    rows = connection.execute(
        """
        select line_number, reason_code, reason, row_sha256, fields
        from audit.quarantine
        where load_batch_id = $batch and ($line is null or line_number = $line)
        order by line_number
        limit $limit
        """,
        {"batch": known.load_batch_id, "line": line, "limit": limit},
    ).fetchall()
    if line is not None and not rows:
        raise QueryRefusedError(f"line {line} of {known.file_name} is not in quarantine")
    return known, [RefusedRow(*row) for row in rows]


# ---------------------------------------------------------------- people's own SQL


class Answer:
    """One query that may be asked: its rows for reading, or as a Parquet file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        self._connection = connection
        self._sql = sql

    def fetch(self) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Column names, and the rows as they are asked for; decimals exact, times in UTC.

        Raises:
            QueryRefusedError: DuckDB refuses the query, now or on the way.
        """
        try:
            self._connection.execute(self._sql)
        except duckdb.Error as error:
            raise QueryRefusedError(_one_line(error)) from error
        return [str(column[0]) for column in self._connection.description or ()], self._rows()

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        try:
            while block := self._connection.fetchmany(_FETCHED_ROWS):
                yield from block
        except duckdb.Error as error:
            raise QueryRefusedError(_one_line(error)) from error

    def write_parquet(self, path: Path) -> int:
        """Write every row to a Parquet file; rows written.

        Raises:
            QueryRefusedError: no query with rows, or a type that Parquet does not know.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = 0
        try:
            relation = self._connection.sql(self._sql)
            if relation is None:
                raise QueryRefusedError("--format parquet: this statement gives no rows")
            reader = relation.to_arrow_reader(_FETCHED_ROWS)
            with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
                for block in reader:
                    rows += block.num_rows
                    writer.write_batch(block)
        except (duckdb.Error, pa.ArrowException) as error:
            raise QueryRefusedError(f"--format parquet: {_one_line(error)}") from error
        return rows


@contextmanager
def answer(runtime: Runtime, sql: str) -> Iterator[Answer]:
    """One query over the published file, in a locked session.

    Raises:
        NotPublishedError: there is no published file.
        QueryRefusedError: anything but one query.
    """
    with _published(runtime) as connection:
        try:
            _refuse_anything_but_one_query(connection, sql)
        except duckdb.Error as error:
            raise QueryRefusedError(_one_line(error)) from error
        yield Answer(connection, sql)


def _refuse_anything_but_one_query(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """A clear word beforehand; what really holds is the locked, read-only session."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise QueryRefusedError(f"expected one query, found {len(statements)} statements")
    kind = statements[0].type.name
    if kind not in _QUERIES:
        raise QueryRefusedError(
            f"{kind} is refused: the published warehouse is read-only and its settings are "
            "locked; ask with select, from, describe, show, summarize or explain"
        )


def _one_line(error: Exception) -> str:
    """The message without its excerpt of the query."""
    text = str(error).partition("\n\nLINE ")[0]
    return " ".join(text.split())[:500]
