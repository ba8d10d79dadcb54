"""Connections to DuckDB: the pipeline's own writer, and locked sessions for readers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from orchestration.config import Runtime

# A quick look at the warehouse takes a tenth of a second; a run holds it for longer than this.
LOCK_ATTEMPTS = 5
LOCK_WAIT_SECONDS = 0.3


class WarehouseBusyError(RuntimeError):
    """Another process holds the warehouse; said in one line."""


@contextmanager
def open_warehouse(runtime: Runtime) -> Iterator[duckdb.DuckDBPyConnection]:
    """The pipeline's writing connection, in UTC, closed on exit.

    Raises:
        WarehouseBusyError: another process writes the file.
    """
    runtime.database.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(runtime)
    try:
        _set_session(connection)
        yield connection
    finally:
        connection.close()


def _set_session(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("set TimeZone = 'UTC'")
    # Where Python seems interactive (python -c), a long statement draws a bar into standard output.
    connection.execute("set enable_progress_bar = false")


def _connect(runtime: Runtime) -> duckdb.DuckDBPyConnection:
    """Connect, waiting a little for another short command to finish."""
    warehouse = runtime.settings.warehouse
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": warehouse.memory_limit,
        "threads": str(warehouse.threads),
        "temp_directory": str(runtime.home / "tmp"),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    for remaining in range(LOCK_ATTEMPTS - 1, -1, -1):
        try:
            return duckdb.connect(str(runtime.database), config=config)
        except duckdb.IOException as error:
            if "lock" not in str(error):
                raise
            if not remaining:
                raise WarehouseBusyError(
                    f"{runtime.database}: another process is writing it; wait for that run to end"
                ) from error
        time.sleep(LOCK_WAIT_SECONDS)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def without_checkpoints(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Leave out the checkpoints that DuckDB makes by itself after a statement that wrote much.

    For temporary tables one saves nothing, and writes a large one anew in a single thread.
    """
    connection.execute("set checkpoint_threshold = '1TB'")
    try:
        yield
    finally:
        connection.execute("reset checkpoint_threshold")


@contextmanager
def open_reader(
    database: Path, *, memory_limit: str = "2GB"
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session for people's SQL: read-only, without files, network, or changes of settings."""
    connection = duckdb.connect(
        str(database),
        read_only=True,
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "memory_limit": memory_limit,
            "threads": "2",
        },
    )
    try:
        _set_session(connection)
        connection.execute("set python_enable_replacements = false")
        connection.execute("set lock_configuration = true")
        yield connection
    finally:
        connection.close()


def rewrite_warehouse(runtime: Runtime) -> None:
    """Write the pipeline's file anew, so that its free space holds nothing of what was deleted.

    The old file stays until the new one is complete and holds as many rows in every table.

    Raises:
        WarehouseBusyError: another process writes the file.
    """
    part = runtime.database.with_name(f"{runtime.database.name}.part")
    part.unlink(missing_ok=True)
    with open_warehouse(runtime) as connection:
        ((name,),) = connection.execute("select current_database()").fetchall()
        connection.execute(f"attach {quoted(str(part))} as rewritten")
        connection.execute(f'copy from database "{name}" to rewritten')
        _comment_columns(connection, name)
        if _row_counts(connection, name) != _row_counts(connection, "rewritten"):
            connection.execute("detach rewritten")
            part.unlink()
            raise duckdb.IOException(f"{part}: its rows are not those of {runtime.database}")
        connection.execute("detach rewritten")
        # While this connection holds the old file, nobody else begins to write it.
        part.replace(runtime.database)


def _comment_columns(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Say of the copied columns what the original ones say: a copy of a database leaves it out."""
    for schema, table, column, comment in connection.execute(
        "select schema_name, table_name, column_name, comment from duckdb_columns() "
        "where database_name = ? and comment is not null and not internal",
        [name],
    ).fetchall():
        connection.execute(
            f'comment on column rewritten."{schema}"."{table}"."{column}" is {quoted(comment)}'
        )


def _row_counts(connection: duckdb.DuckDBPyConnection, name: str) -> dict[tuple[str, str], int]:
    tables = connection.execute(
        "select schema_name, table_name from duckdb_tables() where database_name = ? "
        "and not temporary",
        [name],
    ).fetchall()
    return {
        (schema, table): connection.execute(
            f'select count(*) from "{name}"."{schema}"."{table}"'
        ).fetchall()[0][0]
        for schema, table in tables
    }


def quoted(text: str) -> str:
    """The text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
