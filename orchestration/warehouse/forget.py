"""`tollbook forget`: one person out of everything Tollbook holds; amounts stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import duckdb

from orchestration.config import Runtime
from orchestration.landing.forgotten import Forgotten, note_forgotten
from orchestration.landing.kinds import ROW_KINDS, FileKind
from orchestration.sources.records import RawTable
from orchestration.warehouse import evidence, persons, publish
from orchestration.warehouse.connection import open_warehouse, quoted, rewrite_warehouse
from orchestration.warehouse.ledger import Ledger
from orchestration.warehouse.staged import row_hash_sql
from orchestration.warehouse.transform import UNPUBLISHED, read_state, write_state

# State from a person being forgotten until no file of ours holds the name any more.
FORGETTING = "forgetting"
Progress = Callable[[str], None]


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

    The days concerned are noted as touched; the marts, the published versions and the free space
    of the files follow with the next build and publish (`erase_remains`).
    """
    report = ForgetReport()
    forgotten = note_forgotten(runtime.landing, person)
    persons.read_into(connection, runtime.landing)
    changed: set[str] = set()
    connection.execute("begin")
    try:
        for kind in ROW_KINDS.values():
            for table in (kind.table, *kind.children):
                if persons.person_columns(table):
                    progress(f"forget: raw.{table.name}")
                    changed |= _change_rows(connection, kind, table, report)
        changed |= _change_refused(connection, forgotten, report)
        write_state(connection, FORGETTING, "true")
        write_state(connection, UNPUBLISHED, "true")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    _change_files(connection, runtime, changed, report, progress)
    report.unread = [
        name
        for (name,) in connection.execute(
            "select file_name from audit.load_batches where status = 'rejected' order by file_name"
        ).fetchall()
        if (runtime.landing / name).is_file()
    ]
    return report


def _change_rows(
    connection: duckdb.DuckDBPyConnection, kind: FileKind, table: RawTable, report: ForgetReport
) -> set[str]:
    """Take the person out of one table; the batches whose rows changed."""
    connection.execute(f"""
        create or replace temp table changed_rows as
        select _load_batch_id, _source_line, cast({table.event_at} as date) as changed_date
        from raw.{table.name}
        where {persons.named(table)}
        """)
    ((rows,),) = connection.execute("select count(*) from changed_rows").fetchall()
    if not rows:
        return set()
    report.rows += rows
    connection.execute(
        f"update raw.{table.name} set {persons.unnamed(table)} where {persons.named(table)}"
    )
    if table is kind.table:
        _change_hashes(connection, kind)
    connection.execute(f"""
        insert into audit.touched_days
        select distinct {quoted(table.name)}, changed_date from changed_rows
        where changed_date not in (
            select touched_date from audit.touched_days where table_name = {quoted(table.name)}
        )
        """)
    batches = connection.execute("select distinct _load_batch_id from changed_rows").fetchall()
    return {batch for (batch,) in batches}


def _change_hashes(connection: duckdb.DuckDBPyConnection, kind: FileKind) -> None:
    """Hash the changed rows anew: a source that sends them once more sends what is known."""
    main = f"raw.{kind.table.name}"
    is_changed = "(_load_batch_id, _source_line) in (select (_load_batch_id, _source_line) from {})"
    connection.execute(
        f"update {main} set _row_hash = {row_hash_sql(kind.table)} "
        f"where {is_changed.format('changed_rows')}"
    )
    for child in kind.children:
        connection.execute(f"""
            update raw.{child.name} as part set _row_hash = whole._row_hash
            from {main} as whole
            where
                part._load_batch_id = whole._load_batch_id
                and part._source_line = whole._source_line
                and part._row_hash <> whole._row_hash
            """)


def _change_refused(
    connection: duckdb.DuckDBPyConnection, forgotten: Forgotten, report: ForgetReport
) -> set[str]:
    """Take the person out of what was kept of refused rows; the batches they belong to."""
    batches = set()
    for batch, line, fields in connection.execute(
        "select load_batch_id, line_number, fields from audit.quarantine where fields is not null"
    ).fetchall():
        cleaned = persons.clean_fields(fields, forgotten)
        if cleaned == fields:
            continue
        report.refused_rows += 1
        batches.add(batch)
        connection.execute(
            "update audit.quarantine set fields = ? where load_batch_id = ? and line_number = ?",
            [cleaned, batch, line],
        )
    return batches


def _change_files(
    connection: duckdb.DuckDBPyConnection,
    runtime: Runtime,
    changed: set[str],
    report: ForgetReport,
    progress: Progress,
) -> None:
    """Write anew what landing holds of the changed batches, and of all that may name people."""
    ledger = Ledger(connection)
    for batch_id in sorted(changed):
        batch = ledger.find(batch_id)
        if batch is not None and batch.evidence_name is not None:
            progress(f"forget: {batch.evidence_name}")
            evidence.rewrite(connection, ledger, runtime, batch)
            report.files += 1
    for batch in ledger.find_unscrubbed(persons.kinds_with_people()):
        # A file whose rows were all known before has none in raw, and may name the person still.
        if evidence.replace_landed(connection, ledger, runtime, batch):
            progress(f"forget: {batch.file_name}")
            report.files += 1


def is_unfinished(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether files of ours still hold the name of somebody who is to be forgotten."""
    return read_state(connection, FORGETTING) == "true"


def erase_remains(runtime: Runtime) -> None:
    """Remove what published versions and free space still hold, once a publish has replaced it.

    Readers that have an older version open keep it until they close it.
    """
    with open_warehouse(runtime) as connection:
        if not is_unfinished(connection):
            return
        publish.retire_older(runtime)
        write_state(connection, FORGETTING, "false")
        connection.execute("checkpoint")
    rewrite_warehouse(runtime)
