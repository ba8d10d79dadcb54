"""publish: writing only the rows of the days that changed, of the marts that hold days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
from clock import Clock, serve

MARTS = ("usage_records", "daily_spend")


def write(
    clock: Clock, *, home: str, days: list[str], target: str, memory_limit: str, threads: int
) -> dict[str, Any]:
    """Copy the rows of these days into a new database file."""
    Path(target).unlink(missing_ok=True)
    listed = ", ".join(f"date '{day}'" for day in days)
    settings = {"memory_limit": memory_limit, "threads": str(threads)}
    with duckdb.connect(target, config=settings) as connection:
        connection.execute(f"attach '{home}/warehouse.duckdb' as source (read_only)")
        with clock:
            for mart in MARTS:
                connection.execute(
                    f"create table {mart} as select * from source.marts.{mart} "
                    f"where usage_date in ({listed})"
                )
            connection.execute("checkpoint")
        (rows,) = connection.execute("select count(*) from usage_records").fetchall()[0]
    return {"touched_rows": rows}


if __name__ == "__main__":
    serve(write=write)
