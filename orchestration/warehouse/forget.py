"""`tollbook forget`: one person out of everything Tollbook holds; amounts stay as they are."""

from __future__ import annotations

from dataclasses import dataclass, field

import duckdb

from orchestration.config import Runtime
from orchestration.landing.forgotten import Forgotten, note_forgotten, rewrite_pages
from orchestration.landing.kinds import ROW_KINDS
from orchestration.warehouse import privacy
from orchestration.warehouse.redaction import Progress, change_files, change_rows, note_redacting


@dataclass(slots=True)
class ForgetReport:
    """What was changed.

    Attributes:
        rows: Rows of raw that named the person.
        refused_rows: Rows in quarantine that did.
        files: Landed files that were written anew, or replaced by their allow-listed rows.
        unread: Rejected files in landing: they were never read, and may name the person.
    """

    rows: int = 0
    refused_rows: int = 0
    files: int = 0
    unread: list[str] = field(default_factory=list)


def forget_person(
    connection: duckdb.DuckDBPyConnection, runtime: Runtime, person: str, *, progress: Progress
) -> ForgetReport:
    """Put `forgotten` in the place of a person's id in raw, quarantine and landing.

    The days concerned are noted as touched; marts, published versions and the free space of the
    files follow with the next build and publish.
    """
    report = ForgetReport()
    forgotten = note_forgotten(runtime.landing, person)
    privacy.read_into(connection, runtime.landing)
    changed: set[str] = set()
    connection.execute("begin")
    try:
        for kind in ROW_KINDS.values():
            for table in (kind.table, *kind.children):
                if privacy.person_columns(table):
                    progress(f"forget: raw.{table.name}")
                    rows, batches = change_rows(
                        connection,
                        kind,
                        table,
                        assignments=privacy.unnamed(table),
                        where=privacy.named(table),
                    )
                    report.rows += rows
                    changed |= batches
        changed |= _change_refused(connection, forgotten, report)
        note_redacting(connection)
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    report.files = change_files(
        connection, runtime, changed, kinds=privacy.kinds_with_people(), progress=progress
    )
    report.files += rewrite_pages(runtime.landing, person)
    report.unread = [
        name
        for (name,) in connection.execute(
            "select file_name from audit.load_batches where status = 'rejected' order by file_name"
        ).fetchall()
        if (runtime.landing / name).is_file()
    ]
    return report


def _change_refused(
    connection: duckdb.DuckDBPyConnection, forgotten: Forgotten, report: ForgetReport
) -> set[str]:
    """Take the person out of what was kept of refused rows; the batches they belong to."""
    batches = set()
    for batch, line, fields in connection.execute(
        "select load_batch_id, line_number, fields from audit.quarantine where fields is not null"
    ).fetchall():
        cleaned = privacy.clean_fields(fields, forgotten)
        if cleaned == fields:
            continue
        report.refused_rows += 1
        batches.add(batch)
        connection.execute(
            "update audit.quarantine set fields = ? where load_batch_id = ? and line_number = ?",
            [cleaned, batch, line],
        )
    return batches
