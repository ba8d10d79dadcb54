"""load-parquet: DuckDB's `create table as` from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from anchors.read_json import loaded_facts
from clock import Clock, serve


def load(
    clock: Clock, *, file: str, database: str, memory_limit: str, threads: int
) -> dict[str, Any]:
    """Copy the file into a table of a new database and checkpoint it."""
    Path(database).unlink(missing_ok=True)
    settings = {"memory_limit": memory_limit, "threads": str(threads)}
    with duckdb.connect(database, config=settings) as connection:
        with clock:
            connection.execute(f"create table logs as select * from '{file}'")
            connection.execute("checkpoint")
        return loaded_facts(connection)


if __name__ == "__main__":
    serve(load=load)
