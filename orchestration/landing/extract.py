"""Extraction: ask a source for what is not known yet, and land it.

A watermark only chooses from when on the source is asked; what is landed is decided row by row by
the source's own hashes. Both are read from the ledger, raw and the landing folder, so nothing is
lost when a run is killed, and nothing lands twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute

from orchestration.config import Runtime, SourceSettings
from orchestration.core.refusals import with_hashed_secrets, without_secrets
from orchestration.landing.asked import note_asked
from orchestration.landing.extract_logs import KnownGenerations, extract_generations, extract_logs
from orchestration.landing.extract_pages import PAGED_APIS, KnownPages, extract_pages
from orchestration.landing.long_rereads import LongRereads
from orchestration.landing.source_report import ExtractReport, Gap, SourceReport
from orchestration.landing.write import LandingWriter
from orchestration.sources import litellm_postgres as litellm
from orchestration.sources.litellm_postgres import Cursor, SourceError
from orchestration.sources.owners import OwnerTable

Progress = Callable[[str], None]
# Its functions are made at run time, unseen by a type checker.
pc: Any = pyarrow.compute
DEPTHS = ("sync", "hourly", "daily", "weekly")
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
# Days for which counters and roll-ups are asked again; they settle within a day or two.
CONTROL_DAYS = 8
# Ids of one query: its text stays below a megabyte.
_IDS_AT_ONCE = 5_000


class Known(KnownPages, KnownGenerations, Protocol):
    """What has been landed of one source before, loaded or not."""

    def watermark(self) -> datetime | None:
        """The last "startTime" that was read, as the names of landed files tell; None: nothing."""
        ...

    def spend_log_hashes(self, start: datetime, end: datetime | None) -> Collection[str]:
        """Source hashes of spend logs that start within [start, end)."""
        ...

    def owner_hashes(self, entity: str) -> Mapping[str, str | None]:
        """Source hash by entity id of the newest observation; None where it was gone by then."""
        ...

    def edge_counts(self) -> Collection[tuple[datetime, int, int]]:
        """(day, successful, failed) of counts landed before."""
        ...

    def daily_hashes(self, table: str, days: tuple[str, str]) -> Collection[str]:
        """Source hashes of a roll-up's rows of the days in [first, last)."""
        ...


def read_privacy(runtime: Runtime) -> litellm.Privacy:
    """Which personal fields the settings let us read."""
    privacy = runtime.settings.privacy
    return litellm.Privacy(
        client_ip=privacy.client_ip == "keep",
        user_agent=privacy.user_agent == "keep",
        user_id=privacy.user_id == "keep",
    )


def pulled_sources(runtime: Runtime) -> list[SourceSettings]:
    """The sources this version fills by a connection."""
    return [each for each in runtime.settings.sources if each.is_extracted]


def extract(
    runtime: Runtime,
    known_of: Callable[[SourceSettings], Known],
    *,
    depth: str = "hourly",
    progress: Progress,
) -> ExtractReport:
    """Ask every source with a connection, each by itself: one that fails does not stop the others.

    Args:
        depth: sync asks for usage alone, with the shortest re-read; hourly also for owners and
            counters. Once a day and once a week an hourly run re-reads further back (T1 lateness).
    """
    reports = []
    for source in pulled_sources(runtime):
        if depth == "sync" and not source.is_synced:
            continue
        progress(f"extract: asking {source.name}")
        report = _extract_source(runtime, source, known_of(source), depth, progress)
        if not report.problems:
            note_asked(runtime.landing, source.name, runtime.as_of)
        reports.append(report)
    return ExtractReport(tuple(reports))


def _extract_source(
    runtime: Runtime, source: SourceSettings, known: Known, depth: str, progress: Progress
) -> SourceReport:
    if source.kind == "litellm_postgres":
        return _extract_litellm(runtime, source, known, depth, progress)
    if source.kind in PAGED_APIS:
        return extract_pages(runtime, source, known, depth, progress)
    if source.kind == "openrouter_generations":
        return extract_generations(runtime, source, known, progress)
    return extract_logs(runtime, source, depth, progress)


def _extract_litellm(
    runtime: Runtime, source: SourceSettings, known: Known, depth: str, progress: Progress
) -> SourceReport:
    report = SourceReport(source.name)
    try:
        database = litellm.Database(source.dsn or "", statement_timeout=source.statement_timeout)
        shape = litellm.inspect(database)
    except SourceError as error:
        report.miss(Gap("source", None, None, "unavailable", str(error)))
        return report
    if shape.replica_lag is not None and shape.replica_lag > litellm.REPLICA_DELAY:
        minutes = int(shape.replica_lag.total_seconds() // 60)
        report.notes.append(
            f"{source.name}: the replica is {minutes} minutes behind; a later run reads the rest"
        )
    job = _LiteLLM(runtime, source, database, shape, known, report, progress)
    try:
        job.attempt("spend logs", lambda: job.spend_logs(depth))
        if depth != "sync":
            for table in litellm.OWNERS:
                job.attempt(table.name, lambda table=table: job.owners(table))
            job.attempt(litellm.EDGE_COUNTS, job.edge_counts)
            for name in litellm.DAILY_SPEND:
                job.attempt(name, lambda name=name: job.daily_spend(name))
    finally:
        database.close()
    return report


class _LiteLLM:
    """One look at one LiteLLM database."""

    def __init__(
        self,
        runtime: Runtime,
        source: SourceSettings,
        database: litellm.Database,
        shape: litellm.Shape,
        known: Known,
        report: SourceReport,
        progress: Progress,
    ) -> None:
        self.runtime = runtime
        self.source = source
        self.database = database
        self.shape = shape
        self.known = known
        self.report = report
        self.progress = progress
        self.privacy = read_privacy(runtime)
        self.observed_at = pa.scalar(runtime.as_of, pa.timestamp("us")).cast(
            pa.timestamp("us", "UTC")
        )

    def attempt(self, what: str, read: Callable[[], None]) -> None:
        """Read one part; a problem is noted, and the parts behind it are read all the same."""
        try:
            read()
        except SourceError as error:
            line = str(error) if what in str(error) else f"{what}: {error}"
            self.report.miss(Gap(what, None, None, "unavailable", line))
        else:
            self.report.read.append(what)

    def writer(self, kind: str, stem: str, *, event_at: str) -> LandingWriter:
        """A writer into the folder of a file kind of this source."""
        folder = self.runtime.landing / self.source.name / kind
        return LandingWriter(folder, stem, event_at=event_at, as_of=self.runtime.as_of)

    def stamped(self, rows: pa.Table, **columns: object) -> pa.Table:
        """The rows with when they were observed, and further constants."""
        for name, value in {"observed_at": self.observed_at, **columns}.items():
            rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
        return rows

    # ------------------------------------------------------------ spend logs

    def spend_logs(self, depth: str) -> None:
        """Land the spend logs that are not known, from the watermark less the lateness on."""
        logs = litellm.SpendLogs(self.database, self.shape, self.privacy)
        notes = LongRereads(self.runtime.home, self.source.name)
        depth = notes.due_depth(depth, self.runtime.as_of)
        watermark = self.known.watermark()
        start = self._start(watermark, depth)
        first = logs.first_start(start)
        if first is not None:
            kind = "litellm_spend_logs"
            writer = self.writer(kind, "spend_logs", event_at="startTime")
            try:
                with writer:
                    self._land_spend_logs(logs, writer, first, watermark)
            finally:
                self.report.add(kind, writer)
        notes.remember(depth, self.runtime.as_of)

    def _start(self, watermark: datetime | None, depth: str) -> datetime:
        since = self.source.since or datetime(1970, 1, 1)  # noqa: DTZ001  # naive UTC
        if watermark is None:
            return since
        lateness = getattr(self.runtime.settings.lateness, depth)
        return max(min(watermark, self.runtime.as_of) - lateness, since)

    def _land_spend_logs(
        self,
        logs: litellm.SpendLogs,
        writer: LandingWriter,
        first: datetime,
        watermark: datetime | None,
    ) -> None:
        rows = 0
        for start, end in _windows(first, logs, watermark):
            hashes: Collection[str] = ()
            if watermark is not None:
                hashes = self.known.spend_log_hashes(start, end)
            known = frozenset(hashes)
            if known and end is not None:
                pages = _unknown_pages(self.database, logs, start, end, known)
            else:
                # Nearly all of these are new: one question tells all.
                whole = _pages(self.database, logs.rows_sql, start, end)
                pages = (_unknown(page, known) if known else page for page in whole)
            for page in pages:
                writer.write(self.stamped(_without_secrets(page)))
                rows += page.num_rows
                self.progress(f"extract {self.source.name}: {rows:,} spend logs")

    # ------------------------------------------------------------ owners

    def owners(self, table: OwnerTable) -> None:
        """Land the rows of an owner table that changed, and those that are gone."""
        if not self.shape.has(table.name) or (table.entity == "user" and not self.privacy.user_id):
            return
        before = self.known.owner_hashes(table.entity)
        key = table.fields[0].theirs
        page = litellm.owner_rows(self.database, self.shape, table)
        ids, hashes = page.column(key).to_pylist(), page.column("source_hash").to_pylist()
        changed = [before.get(i) != h for i, h in zip(ids, hashes, strict=True)]
        gone = sorted({i for i, h in before.items() if h is not None} - set(ids))
        with self.writer("owners", table.name, event_at="observed_at") as writer:
            fresh = page.filter(pa.array(changed, pa.bool_()))
            writer.write(self.stamped(fresh, litellm_table=table.name, is_gone=False))
            if gone:
                writer.finish()
                rows = pa.table({key: pa.array(gone, pa.string())})
                writer.write(self.stamped(rows, litellm_table=table.name, is_gone=True))
        self.report.add("owners", writer)

    # ------------------------------------------------------------ counters and controls

    def _control_days(self) -> tuple[str, str]:
        """Days that are over, as [first, last): a count of today is not one yet."""
        today = self.runtime.as_of.date()
        return (today - CONTROL_DAYS * _DAY).isoformat(), today.isoformat()

    def edge_counts(self) -> None:
        """Land the requests counted at the edge of days that are over, where they changed."""
        if not self.shape.has(litellm.EDGE_COUNTS):
            return
        self.shape.refuse_missing(litellm.EDGE_COUNTS, litellm.EDGE_COLUMNS)
        since, before = self._control_days()
        known = self.known.edge_counts()
        counted = self.database.read(litellm.edge_counts_sql(self.database, since, before))
        fresh = []
        for row in counted.to_pylist():
            day = datetime.fromisoformat(row["date"])
            succeeded, failed = row["successful_requests"], row["failed_requests"]
            if (day, succeeded, failed) not in known:
                fresh.append(
                    {
                        "gateway": self.source.gateway_name,
                        "hour_at": day,
                        "hours": 24,
                        "requests": succeeded + failed,
                        "successful_requests": succeeded,
                        "failed_requests": failed,
                    }
                )
        with self.writer("gateway_counts", "edge_counts", event_at="hour_at") as writer:
            if fresh:
                rows = pa.Table.from_pylist(fresh)
                utc = (
                    rows.column("hour_at").cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
                )
                place = rows.schema.get_field_index("hour_at")
                writer.write(rows.set_column(place, "hour_at", utc))
        self.report.add("gateway_counts", writer)

    def daily_spend(self, table: str) -> None:
        """Land a daily roll-up of days that are over: a control beside the logs, never a cost."""
        if not self.shape.has(table):
            return
        since, before = self._control_days()
        known = frozenset(self.known.daily_hashes(table, (since, before)))
        with self.writer("litellm_daily_spend", table, event_at="observed_at") as writer:
            for number in range(CONTROL_DAYS):
                day = (datetime.fromisoformat(since) + number * _DAY).date().isoformat()
                for page in self._daily_pages(table, day):
                    fresh = _unknown(page, known)
                    writer.write(self.stamped(fresh, litellm_table=table))
        self.report.add("litellm_daily_spend", writer)

    def _daily_pages(self, table: str, day: str) -> Iterator[pa.Table]:
        after = ""
        while True:

            def sql(limit: int, after: str = after) -> str:
                return litellm.daily_spend_sql(
                    self.database,
                    self.shape,
                    table,
                    day=day,
                    after=after,
                    limit=limit,
                    keeps_users=self.privacy.user_id,
                )

            rows, limit = litellm.page(self.database, sql)
            if rows.num_rows:
                yield rows
                after = rows.column("id")[-1].as_py()
            if rows.num_rows < limit:
                return


# ---------------------------------------------------------------- windows and pages


def _windows(
    first: datetime, logs: litellm.SpendLogs, watermark: datetime | None
) -> Iterator[tuple[datetime, datetime | None]]:
    """Spans from `first` on that hold rows.

    UTC hours up to the watermark, where rows are known, so that few hashes are in memory at a
    time; behind it one span without an end, whose pages follow each other without a pause.
    """
    start: datetime | None = first
    while start is not None:
        if watermark is None or start > watermark:
            yield start, None
            return
        end = start.replace(minute=0, second=0, microsecond=0) + _HOUR
        yield start, end
        start = logs.first_start(end)


_Sql = Callable[..., str]


def _pages(
    database: litellm.Database,
    sql: _Sql,
    start: datetime,
    end: datetime | None,
) -> Iterator[pa.Table]:
    """Pages of a window in order; the next is read while the caller works on this one.

    The database belongs to the generator until it ends.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:

        def ask(cursor: Cursor, limit: int) -> tuple[pa.Table, int]:
            return litellm.page(database, lambda rows: sql(cursor, end, limit=rows), limit=limit)

        coming = pool.submit(ask, Cursor(start), litellm.PAGE_ROWS)
        while True:
            rows, limit = coming.result()
            is_last = rows.num_rows < limit
            if not is_last:
                coming = pool.submit(ask, _last(rows), limit)
            if rows.num_rows:
                yield rows
            if is_last:
                return


def _last(rows: pa.Table) -> Cursor:
    started_at = rows.column("startTime")[-1].as_py()
    return Cursor(started_at.replace(tzinfo=None), rows.column("request_id")[-1].as_py())


def _unknown_pages(
    database: litellm.Database,
    logs: litellm.SpendLogs,
    start: datetime,
    end: datetime | None,
    known: frozenset[str],
) -> Iterator[pa.Table]:
    """The rows of a window that are not known: keys and hashes first, then what is left of them."""
    values = pa.array(sorted(known), pa.string())
    cursor, limit = Cursor(start), litellm.PAGE_ROWS
    while True:
        keys, limit = litellm.page(
            database, lambda rows, at=cursor: logs.keys_sql(at, end, limit=rows), limit=limit
        )
        fresh = keys.filter(_is_unknown(keys, values))
        for place in range(0, fresh.num_rows, _IDS_AT_ONCE):
            rows = _named(database, logs, fresh.slice(place, _IDS_AT_ONCE))
            # A row may have changed between the two questions, into what is known.
            yield rows.filter(_is_unknown(rows, values))
        if keys.num_rows < limit:
            return
        cursor = _last(keys)


def _named(database: litellm.Database, logs: litellm.SpendLogs, keys: pa.Table) -> pa.Table:
    ids = keys.column("request_id").to_pylist()
    span = pc.min_max(keys.column("startTime")).as_py()
    first, last = (span[each].replace(tzinfo=None) for each in ("min", "max"))
    return litellm.page(database, lambda _rows: logs.named_sql(ids, first, last))[0]


def _is_unknown(rows: pa.Table, values: pa.Array) -> pa.ChunkedArray:
    return pc.invert(pc.is_in(rows.column("source_hash"), value_set=values))


def _unknown(rows: pa.Table, known: frozenset[str]) -> pa.Table:
    return rows.filter(_is_unknown(rows, pa.array(sorted(known), pa.string())))


# Fields a caller of the gateway sets: a key may stand in them by mistake.
_CALLERS_FIELDS = (
    "request_id",
    "litellm_call_id",
    "session_id",
    "end_user",
    "user",
    "model",
    "model_group",
    "request_tags",
    "metadata",
)
# How credentials begin; what matches is looked at closely, row by row.
_SUSPECT = (
    r"(?i)(sk|rk|pk)[-_][a-z0-9_-]{6}|whsec_|rzp_(live|test)|gsk_|xai-|hf_[a-z0-9]{16}"
    r"|gh[pousr]_|AKIA|AIza|eyJ|Bearer\s"
)


def _without_secrets(rows: pa.Table) -> pa.Table:
    """The rows without what looks like a credential; ids keep a hash, so that two stay apart."""
    for name in _CALLERS_FIELDS:
        place = rows.schema.get_field_index(name)
        if place < 0 or not pc.any(pc.match_substring_regex(rows.column(place), _SUSPECT)).as_py():
            continue
        clean = with_hashed_secrets if name == "request_id" else without_secrets
        texts = [None if text is None else clean(text) for text in rows.column(place).to_pylist()]
        rows = rows.set_column(place, name, pa.array(texts, pa.string()))
    return rows
