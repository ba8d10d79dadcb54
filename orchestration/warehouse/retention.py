"""`tollbook retention`: old records without their detail, old landing files gone; amounts stay.

A record keeps its time, key, owner, model, units and costs for ever: they are what invoices and
closed months are proven by. What ends is whatever tells one person or conversation from another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from orchestration.config import Runtime
from orchestration.landing.retained import note_detail_from
from orchestration.warehouse.privacy import is_expired, kinds_with_detail, without_detail
from orchestration.warehouse.redaction import Progress, change_files, change_rows, note_redacting


@dataclass(slots=True)
class RetentionReport:
    """What was changed.

    Attributes:
        detail_from, landing_from: Midnights (UTC) from which on detail and landed files are kept.
        rows: Rows of raw that lost their detail.
        refused_rows: Rows in quarantine whose kept fields went.
        files: Landed files that were written anew without it.
        removed_files: Landed files that went.
    """

    detail_from: datetime
    landing_from: datetime
    rows: int = 0
    refused_rows: int = 0
    files: int = 0
    removed_files: int = 0


def overdue_rows(connection: duckdb.DuckDBPyConnection, runtime: Runtime) -> int:
    """Rows of raw that hold detail longer than the settings say."""
    since = runtime.settings.retention.detail_from(runtime.as_of)
    tables = [kind.table for kind in kinds_with_detail()]
    return sum(
        connection.execute(
            f"select count(*) from raw.{table.name} where {is_expired(table, since)}"
        ).fetchall()[0][0]
        for table in tables
    )


def apply_retention(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, *, progress: Progress
) -> RetentionReport:
    """Take detail out of raw, quarantine and landing, and remove old landed files.

    The days concerned are noted as touched; marts, published versions and the free space of the
    files follow with the next build and publish.
    """
    retention = runtime.settings.retention
    report = RetentionReport(
        detail_from=note_detail_from(runtime.landing, retention.detail_from(runtime.as_of)),
        landing_from=retention.landing_from(runtime.as_of),
    )
    changed: set[str] = set()
    connection.execute("begin")
    try:
        for kind in kinds_with_detail():
            progress(f"retention: raw.{kind.table.name}")
            rows, batches = change_rows(
                connection,
                kind,
                kind.table,
                assignments=without_detail(kind.table),
                where=is_expired(kind.table, report.detail_from),
            )
            report.rows += rows
            changed |= batches
        changed |= _change_refused(connection, report)
        if changed:
            note_redacting(connection)
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    report.removed_files = _remove_files(connection, runtime, report.landing_from)
    report.files = change_files(connection, runtime, changed, kinds=(), progress=progress)
    return report


def _change_refused(connection: duckdb.DuckDBPyConnection, report: RetentionReport) -> set[str]:
    """Take their fields from rows that were refused before the detail's time began."""
    listed = ", ".join(f"'{kind.name}'" for kind in kinds_with_detail())
    expired = f"""
        fields <> '{{}}' and load_batch_id in (
            select load_batch_id from audit.load_batches
            where kind in ({listed}) and coalesce(max_event_at, loaded_at) < $since
        )
        """
    since = {"since": report.detail_from}
    found = connection.execute(
        f"select load_batch_id, count(*) from audit.quarantine where {expired} group by all", since
    ).fetchall()
    if found:
        connection.execute(f"update audit.quarantine set fields = '{{}}' where {expired}", since)
    report.refused_rows = sum(rows for _, rows in found)
    return {batch for batch, _ in found}


def _remove_files(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, landing_from: datetime
) -> int:
    """Remove landed files of requests that are older; their ledger entries stay."""
    listed = ", ".join(f"'{kind.name}'" for kind in kinds_with_detail())
    removed = 0
    for (name,) in connection.execute(
        f"""
        select coalesce(evidence_name, file_name) from audit.load_batches
        where status <> 'rejected' and kind in ({listed})
            and greatest(coalesce(max_event_at, loaded_at), loaded_at) < ?
        order by 1
        """,
        [landing_from],
    ).fetchall():
        path = runtime.landing / name
        if path.is_file():
            path.unlink()
            removed += 1
    return removed
