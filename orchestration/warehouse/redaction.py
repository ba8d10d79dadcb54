"""Fields taken out of rows that were loaded long ago: raw, landing, and what lies behind them."""

from __future__ import annotations

from collections.abc import Callable, Collection

import duckdb

from orchestration.config import Runtime
from orchestration.landing.kinds import FileKind
from orchestration.sources.records import RawTable
from orchestration.warehouse import evidence, publish
from orchestration.warehouse.connection import open_warehouse, quoted, rewrite_warehouse
from orchestration.warehouse.ledger import Ledger
from orchestration.warehouse.staged import row_hash_sql
from orchestration.warehouse.transform import UNPUBLISHED, read_state, write_state

# State from a field being taken out until no file of ours holds it any more.
REDACTING = "redacting"
Progress = Callable[[str], None]


def change_rows(
    connection: duckdb.DuckDBPyConnection,
    kind: FileKind,
    table: RawTable,
    *,
    assignments: str,
    where: str,
) -> tuple[int, set[str]]:
    """Change rows of raw within the caller's transaction; how many, and the batches they are of.

    Their content hashes are taken anew, so that a source that sends them once more sends what is
    known, and their days are noted as touched.
    """
    connection.execute(f"""
        create or replace temp table changed_rows as
        select _load_batch_id, _source_line, cast({table.event_at} as date) as changed_date
        from raw.{table.name}
        where {where}
        """)
    ((rows,),) = connection.execute("select count(*) from changed_rows").fetchall()
    if not rows:
        return 0, set()
    connection.execute(f"update raw.{table.name} set {assignments} where {where}")
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
    return rows, {batch for (batch,) in batches}


def _change_hashes(connection: duckdb.DuckDBPyConnection, kind: FileKind) -> None:
    main = f"raw.{kind.table.name}"
    connection.execute(f"""
        update {main} set _row_hash = {row_hash_sql(kind.table)}
        where (_load_batch_id, _source_line) in (
            select (_load_batch_id, _source_line) from changed_rows
        )
        """)
    for child in kind.children:
        connection.execute(f"""
            update raw.{child.name} as part set _row_hash = whole._row_hash
            from {main} as whole
            where
                part._load_batch_id = whole._load_batch_id
                and part._source_line = whole._source_line
                and part._row_hash <> whole._row_hash
            """)


def change_files(
    connection: duckdb.DuckDBPyConnection,
    runtime: Runtime,
    changed: Collection[str],
    *,
    kinds: tuple[str, ...],
    progress: Progress,
) -> int:
    """Write anew what landing holds of changed batches, and replace whole files of some kinds.

    A file whose rows were all known before has none in raw, and may hold the field still.
    """
    ledger = Ledger(connection)
    files = 0
    for batch_id in sorted(changed):
        batch = ledger.find(batch_id)
        if batch is not None and evidence.rewrite(connection, ledger, runtime, batch):
            files += 1
            progress(f"landing: {files} files written anew")
    for batch in ledger.find_unscrubbed(kinds):
        if evidence.replace_landed(connection, ledger, runtime, batch):
            files += 1
            progress(f"landing: {files} files written anew")
    return files


def note_redacting(connection: duckdb.DuckDBPyConnection) -> None:
    """Note, within the caller's transaction, that the next publish has something to erase."""
    write_state(connection, REDACTING, "true")
    write_state(connection, UNPUBLISHED, "true")


def is_redacting(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether files of ours still hold what was taken out of raw."""
    return read_state(connection, REDACTING) == "true"


def erase_remains(runtime: Runtime) -> None:
    """Remove what earlier versions and free space still hold, once a publish has replaced it.

    Readers that have an older version open keep it until they close it.
    """
    with open_warehouse(runtime) as connection:
        publish.retire_older(runtime)
        write_state(connection, REDACTING, "false")
        connection.execute("checkpoint")
    rewrite_warehouse(runtime)
